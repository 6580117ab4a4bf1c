"""The executor's end of one worker process.

Not multiprocessing, nor a library on top of it: what that spawns inherits the environment with the providers' keys,
and imports the executor's main module. Nor asyncio's processes, which some event loops fork: gRPC has threads here.
What `subprocess` does between vfork and exec, no thread can break.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from executor.pixels import frames
from executor.pixels.frames import Reply

# So that memory goes back as soon as an image is done, and threads reserve none.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}
_START_SECONDS = 30.0
_QUOTED = 300

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What one worker may take.

    Attributes:
        memory_mib: Of address space, for the largest image.
        seconds: An image.
        max_side: An image that is longer on a side is made smaller; 0 leaves all of them.
    """

    memory_mib: int = 2048
    seconds: float = 20.0
    max_side: int = 0


class WorkerNotStarted(Exception):
    """No worker can be had now; the message says why."""


class WorkerDied(Exception):
    """The worker is no more; the message is what it died of, to stand after "the process that tried"."""


class Worker:
    """One process, and the thread that waits at its pipes. Whatever goes wrong in `decode` ends it."""

    def __init__(self, process: subprocess.Popen[bytes], limits: WorkerLimits) -> None:
        self._process = process
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="image")
        self.images = 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def begin(self) -> None:
        """Wait until it is ready. Raises WorkerNotStarted, and then it has ended."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                last_words = await self._beside(self._until_ready)
        except TimeoutError:
            await self.stop()
            raise WorkerNotStarted(f"The process did not start within {_START_SECONDS:g} s.") from None
        except BaseException:
            await self.stop()
            raise
        if last_words is not None:
            await self.stop()
            raise WorkerNotStarted(f"The process ended at its start: {last_words}")

    async def decode(self, data: bytes) -> Reply:
        """Have one image decoded; one at a time. Raises WorkerDied."""
        self.images += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._beside(lambda: self._exchange(data))
        except TimeoutError:
            await self.stop()
            raise WorkerDied(f"took longer than {self._limits.seconds:g} s") from None
        except (OSError, EOFError):
            await self.stop()
            raise WorkerDied(self._cause()) from None
        except frames.Nonsense:
            await self.stop()
            raise WorkerDied("said what it never says") from None
        except BaseException:
            # Cancelled: what comes out of it now would be taken for the next image's.
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it at once, and return when it has ended."""
        self._process.kill()
        # The thread, if it still waits at the pipes, gets there as they end.
        await self._beside(self._close)
        self._thread.shutdown(wait=False)

    async def _beside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _until_ready(self) -> str | None:
        """Return None once it is ready, else its last words."""
        _, stdout, stderr = _pipes(self._process)
        if stdout.read(len(frames.READY)) == frames.READY:
            return None
        return stderr.read().decode(errors="replace").strip()[-_QUOTED:]

    def _exchange(self, data: bytes) -> Reply:
        stdin, stdout, _ = _pipes(self._process)
        frames.write_request(stdin, data)
        return frames.read_reply(stdout)

    def _close(self) -> None:
        self._process.wait()
        for pipe in _pipes(self._process):
            # To close it sends what it holds.
            with contextlib.suppress(OSError):
                pipe.close()

    def _cause(self) -> str:
        status = self._process.returncode
        if status == frames.OUT_OF_MEMORY:
            return f"needed more memory than {self._limits.memory_mib:,} MiB"
        if status == -signal.SIGXCPU:
            return f"took longer than {self._limits.seconds:g} s"
        return f"ended with signal {-status}" if status < 0 else f"ended with status {status}"


async def start(limits: WorkerLimits) -> Worker:
    """Start a worker, and wait until it is ready. Raises WorkerNotStarted."""
    try:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - returns within milliseconds; every word is ours
            [
                sys.executable,
                # Isolated: neither variables nor the directory it is started in decide what it imports.
                "-I",
                "-m",
                "executor.pixels.worker",
                str(limits.memory_mib),
                str(max(1, round(limits.seconds))),
                str(limits.max_side),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
            # Ctrl-C in a terminal is for the executor, which ends its workers itself.
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerNotStarted(f"No process can be started: {error.strerror or error}.") from None
    worker = Worker(process, limits)
    await worker.begin()
    return worker


def _pipes(process: subprocess.Popen[bytes]) -> tuple[frames.Pipe, frames.Pipe, frames.Pipe]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise TypeError("A worker has pipes.")
    return process.stdin, process.stdout, process.stderr
