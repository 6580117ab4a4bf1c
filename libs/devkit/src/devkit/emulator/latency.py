"""How long a call takes: a draw from a log-normal distribution, which the seed and the call's number decide."""

import asyncio
import math
import random

_SIGMA = 0.35


class Latency:
    """Draws and waits.

    `close` ends every wait: nobody waits for an answer of a server that is going away.
    """

    def __init__(self, *, median_seconds: float, seed: int) -> None:
        self._median_seconds = median_seconds
        self._seed = seed
        self._closed = asyncio.Event()

    def draw(self, call_number: int) -> float:
        """Return the seconds that a call takes: half of all calls take less than the median, 1 in 20 over 1.8 times it."""
        if not self._median_seconds:
            return 0.0
        generator = random.Random(f"{self._seed} {call_number}")
        return self._median_seconds * math.exp(_SIGMA * generator.gauss())

    async def wait(self, seconds: float) -> bool:
        """Wait this long; return whether it was not broken off by `close`."""
        if seconds <= 0:
            return not self._closed.is_set()
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._closed.set()
