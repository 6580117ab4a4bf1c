"""Starts the installed commands as real processes, waits until they say that they are ready, and stops them."""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0


class ProgramFailed(Exception):
    """A program ended, or was not ready in time; the message quotes its last words."""


class Program:
    """One running command; its output goes to a file.

    Attributes:
        address: Where it serves, as far as whoever started it found out.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.address = ""
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self, find: Callable[[str], str | None]) -> str:
        """Return what `find` sees in a line of the output, as soon as it sees it.

        Raises:
            ProgramFailed: The program ended, or 30 s passed.
        """
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while True:
                    for line in self.log.read_text(errors="replace").splitlines():
                        if (found := find(line)) is not None:
                            return found
                    if self._process.returncode is not None:
                        raise ProgramFailed(f"{self.name} ended: {self._last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise ProgramFailed(f"{self.name} is not ready: {self._last_words()}") from None

    def kill(self) -> None:
        """End the program as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        return await self._process.wait()

    def interrupt(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop the program where it stands, as a machine that hangs would; its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen program go on."""
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End the program in its own good time, or by force."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            # One that is frozen does not hear of its end.
            self.thaw()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _last_words(self) -> str:
        return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])


@contextlib.asynccontextmanager
async def program(
    command: str, *arguments: str, environment: Mapping[str, str], log: Path, name: str = ""
) -> AsyncIterator[Program]:
    """Run an installed command while the block runs.

    The terminal's Ctrl-C does not reach it, so that programs end in order; it dies with this process, however that
    ends.
    """
    path = Path(sys.executable).parent / command
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *_dying_with_parent(),
            path,
            *arguments,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Program(name or command, process, log)
    try:
        yield running
    finally:
        await running.stop()


def logged(event: str, field: str) -> Callable[[str], str | None]:
    """Return a finder of one field of a JSON log line."""

    def find(line: str) -> str | None:
        if event not in line:
            return None
        try:
            record = json.loads(line)
        except ValueError:
            return None
        return str(record[field]) if record.get("event") == event and field in record else None

    return find


def _dying_with_parent() -> tuple[str, ...]:
    """Return a prefix that ties a program's life to this process, where the system has one."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()
