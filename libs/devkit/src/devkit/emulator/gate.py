"""A gate that calls wait at, so that a test decides when an answer comes."""

import asyncio


class Gate:
    """Closed to whoever comes, until it is opened for those who wait."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._is_away = False
        self.waiting = 0

    async def wait(self) -> None:
        """Wait for the next opening."""
        if self._is_away:
            return
        opened = self._opened
        self.waiting += 1
        try:
            await opened.wait()
        finally:
            self.waiting -= 1

    def open(self) -> int:
        """Let go whoever waits, and return how many that are."""
        released = self.waiting
        self._opened.set()
        self._opened = asyncio.Event()
        return released

    def remove(self) -> None:
        """Let everybody pass from now on."""
        self._is_away = True
        self.open()
