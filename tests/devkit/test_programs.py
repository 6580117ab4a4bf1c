"""Installed commands as real processes: started, frozen, thawed and stopped."""

import signal
from pathlib import Path

import pytest

from devkit.programs import Program, ProgramFailed, program

SAYS_UP = "import signal; print('up', flush=True); signal.pause()"
COUNTS = "import sys, time\nfor n in range(10**9): print(n, flush=True); time.sleep(0.001)"


async def up(running: Program) -> None:
    await running.ready(lambda line: line if line == "up" else None)


def is_frozen(running: Program) -> bool:
    return "State:\tT" in Path(f"/proc/{running.pid}/status").read_text()


async def test_a_frozen_program_does_nothing_until_it_is_thawed(tmp_path: Path) -> None:
    async with program("python", "-c", COUNTS, environment={}, log=tmp_path / "log") as running:
        await running.ready(lambda line: line or None)
        running.freeze()
        while not is_frozen(running):
            pass
        seen = len(running.log.read_text().splitlines())
        assert len(running.log.read_text().splitlines()) == seen

        running.thaw()

        assert await running.ready(lambda line: line if line == str(seen + 5) else None)
        assert not is_frozen(running)


async def test_a_frozen_program_can_be_stopped_in_order(tmp_path: Path) -> None:
    async with program("python", "-c", SAYS_UP, environment={}, log=tmp_path / "log") as running:
        await up(running)
        running.freeze()

        await running.stop()

        assert await running.wait() == -signal.SIGTERM


async def test_a_program_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = "import sys; sys.exit('no luck')"
    async with program("python", "-c", command, environment={}, log=tmp_path / "log", name="it") as running:
        with pytest.raises(ProgramFailed, match="it ended: no luck"):
            await up(running)
