"""Time as a port, so that the same use cases run under a virtual clock."""

import asyncio
import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime.datetime:
        """Return the wall clock, aware and in UTC: for times that are stored or shown."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start: for durations inside this process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long; 0 or less only yields."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the one place that reads the wall clock

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - the one place that reads the monotonic clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
