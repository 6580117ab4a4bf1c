"""How long a call takes: a draw that the seed and the call's number decide, and the wait for it."""

import asyncio
import random

from devkit.emulator.distributions import Latencies


class Latency:
    """Draws and waits.

    `close` ends every wait: nobody waits for an answer of a server that is going away.

    Attributes:
        latencies: They hold for the calls to come.
    """

    def __init__(self, latencies: Latencies, *, seed: int) -> None:
        self.latencies = latencies
        self._seed = seed
        self._closed = asyncio.Event()

    def draw(self, call_number: int, model: str = "") -> float:
        """Return the seconds that a call takes."""
        distribution = self.latencies.models.get(model, self.latencies.default)
        return distribution.draw(random.Random(f"{self._seed} {call_number}"))

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
