"""An event loop that serves code without one."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
            concurrent.futures.Future()
        )
        # A daemon, so that a program that forgets to close its client can still end.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(started)), name="visionjobs-client", daemon=True
        )
        self._thread.start()
        self._loop, self._end = started.result()

    @staticmethod
    async def _live(started: "concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        end = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._end.is_set()

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """Run the call on the loop and wait for it; an interruption of the wait ends the call too."""
        if not self.is_running:
            call.close()
            raise RuntimeError("The client is closed.")
        running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def stop(self) -> None:
        """End the loop with everything that still runs on it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
