"""What other processes of the same user may see of an executor."""

import asyncio
import sys

import pytest

from devkit.stack import clean_environment

# PR_GET_DUMPABLE is 3.
TOLD_AT_THE_END = """
import ctypes, executor.cli
try:
    executor.cli.main()
except SystemExit as end:
    print(end.code, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux can keep a process from others of its user.")
async def test_the_command_shows_its_keys_to_no_other_process() -> None:
    # With an open door it ends by itself, as late as that can be.
    environment = clean_environment() | {"GEMINI_API_KEY": "key", "EXECUTOR_HEALTH_ADDRESS": "0.0.0.0:0"}

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TOLD_AT_THE_END, env=environment, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()

    assert told.split() == [b"2", b"0"]
