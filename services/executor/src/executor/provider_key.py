"""Stops taking work while the provider refuses this executor's key, and tries the key again with one job at a time."""

import asyncio

from executor.slots import Slots
from runtime import logs
from runtime.clock import Clock

RETRY_SECONDS = 60.0

_log = logs.get_logger(__name__)


class ProviderKey:
    """Whether the provider takes the key, by what it said last."""

    def __init__(self, *, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._refused = False
        self._retry_at = 0.0
        self._refusal = asyncio.Event()

    def refused(self, message: str) -> None:
        """The provider refused the key."""
        if not self._refused:
            _log.error("provider_refuses_key", message=message, retry_seconds=RETRY_SECONDS)
        self._refused = True
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        self._slots.limit(0)
        self._refusal.set()

    def accepted(self) -> None:
        """The provider answered otherwise, so the key is good."""
        if self._refused:
            self._refused = False
            self._slots.limit(None)
            _log.info("provider_accepts_key")

    async def run(self) -> None:
        """Let one job try a refused key now and then, until cancelled."""
        while True:
            await self._refusal.wait()
            self._refusal.clear()
            while self._refused and (remaining := self._retry_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(remaining)
            if self._refused:
                self._slots.limit(1)
