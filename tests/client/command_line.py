"""The command line as tests use it."""

import asyncio
import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fake_scheduler import FakeScheduler
from typer.testing import Result

PROGRAM = str(Path(sys.executable).parent / "visionjobs")

Cli = Callable[..., Coroutine[Any, Any, Result]]


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def everything(descriptor: int) -> str:
    shown = b""
    with open(descriptor, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(4096):
                shown += chunk
        except OSError:
            pass  # Linux reports the end of a pseudo-terminal as an error
    return shown.decode()


@asynccontextmanager
async def at_a_terminal(
    scheduler: FakeScheduler, *arguments: str, columns: int = 150
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """Run the command with the far side of a terminal in hand."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--address", scheduler.address, *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)},
    )
    os.close(theirs)
    yield ours, process


def without_style(shown: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", shown)
