"""`make demo` as a newcomer sees it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def demo(folder: Path) -> subprocess.Popen[str]:
    (folder / "samples").symlink_to(ROOT / "samples")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.Popen(
        [sys.executable, "-m", "devkit.demo"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name the folder in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


async def test_the_demo_answers_every_job_says_who_answered_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = demo(tmp_path)

    output, _ = await asyncio.to_thread(process.communicate, timeout=100)

    assert process.returncode == 0, output
    lines = output.strip().splitlines()
    assert lines[-1] == "18 succeeded, 0 failed"
    ids = [line for line in lines[:-1] if re.fullmatch(r"[0-9a-f-]{36} SUCCEEDED", line)]
    assert len(ids) == 18
    assert "EMULATOR" in output
    assert "grpcurl -plaintext" in output
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = demo(tmp_path)
    assert process.stdout is not None
    for line in iter(process.stdout.readline, ""):
        if "Answers come from" in line:
            break

    process.send_signal(number)
    output, _ = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert processes_of(tmp_path) == []
