"""Removes images that nobody needs any more, now and then, and at once what a purge took out of the database."""

import asyncio
import math

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.ports import CollectionStore

_FIRST_SECONDS = 60.0
_INTERVAL_SECONDS = 600.0
_RETRY_SECONDS = 60.0
# The look through the queue takes the longer the more waits there.
_MOST_SHARE = 0.01

_log = logs.get_logger(__name__)


class Collection:
    """The loop; every scheduler has one, and they leave each other alone."""

    def __init__(self, *, store: CollectionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._woken = asyncio.Event()
        self._due = clock.monotonic() + _FIRST_SECONDS
        # When what could not be done is tried again.
        self._again = math.inf

    def wake(self) -> None:
        """Images were taken out of the database: what they left outside of it is to go."""
        self._woken.set()

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            is_due = await self._wait()
            self._again = math.inf
            try:
                if is_due:
                    await self._collect()
                await self._remove_objects()
            except StoreUnavailable as error:
                _log.warning("image_collection_waits", error=str(error))
                self._again = self._clock.monotonic() + _RETRY_SECONDS

    async def _wait(self) -> bool:
        """Wait until there is something to do; return whether it is time to collect."""
        try:
            async with asyncio.timeout(max(0.0, min(self._due, self._again) - self._clock.monotonic())):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
        return self._clock.monotonic() >= self._due

    async def _collect(self) -> None:
        began = self._clock.monotonic()
        self._due = began + _INTERVAL_SECONDS
        expired_before = await self._store.renew_images()
        looked = self._clock.monotonic() - began
        self._due = max(self._due, began + looked / _MOST_SHARE)
        if expired_before is None:
            return
        collected = await self._store.collect_images(expired_before)
        if collected:
            _log.info("images_collected", images=collected, look_seconds=round(looked, 1))

    async def _remove_objects(self) -> None:
        removed, left = await self._store.remove_objects()
        if left:
            self._again = self._clock.monotonic() + _RETRY_SECONDS
        if removed or left:
            _log.info("image_objects_removed", objects=removed, left=left)
