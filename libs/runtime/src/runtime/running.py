"""Runs a program until SIGTERM or SIGINT, on the fast event loop."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_Program = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(program: _Program) -> None:
    """Run `program(stop)`; the first signal sets `stop`, a second one ends the process at once."""
    # Thousands of short-lived messages a second would start a collection at every few of them; reference counts free
    # almost all of them, and what was imported lives for ever.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    if sys.platform == "win32":
        asyncio.run(_until_signalled(program))
        return
    import uvloop  # noqa: PLC0415 - not available everywhere

    uvloop.run(_until_signalled(program))


async def _until_signalled(program: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            # At once: nothing that is left would be worth waiting for, and what matters is on disk.
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await program(stop)
