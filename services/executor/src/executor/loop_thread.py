"""An event loop in a thread of its own, for coroutines that block theirs, or are made to by whom they talk to.

A server whose answer comes in pieces of a byte, or after thousands of others that do not count, keeps the HTTP library
busy for hundreds of milliseconds at a time.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

_Result = TypeVar("_Result")


class LoopThread:
    """Runs coroutines elsewhere, while the `async with` block runs."""

    def __init__(self, *, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a process that ends at once does not wait for calls under way.
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run(_settle_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run there, and return what came of it; a cancellation here cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def _settle_others() -> None:
    """Let what was cancelled end, so that nothing is left when the loop closes."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
