"""Lets every scheduler forget in its memory what a purge removed from the store."""

import asyncio

from runtime import logs
from runtime.clock import Clock
from scheduler import spec_json, validation
from scheduler.errors import StoreUnavailable
from scheduler.image_cache import ImageCache
from scheduler.ports import CommandStore
from scheduler.recent import RecentJobs
from scheduler.signals import Signals

_POLL_SECONDS = 1.0
# What is older than 10 s may be missed.
_TRUSTED_SECONDS = 8.0

_log = logs.get_logger(__name__)


class Forgetting:
    """Empties the caches of this process, and listens for purges of others."""

    def __init__(
        self, *, store: CommandStore, recent: RecentJobs, images: ImageCache, signals: Signals, clock: Clock
    ) -> None:
        self._store = store
        self._recent = recent
        self._images = images
        self._signals = signals
        self._clock = clock
        self._wake = asyncio.Event()
        self._looked = clock.monotonic()

    async def user(self, client_id: str, user_id: str) -> None:
        """Forget a user here, and say so to all others. Raises StoreUnavailable if they cannot be told."""
        self._forget(client_id, user_id)
        await self._store.post_purged(client_id, user_id)
        self._signals.announce()

    def wake(self) -> None:
        """Another scheduler said something."""
        self._wake.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._look()

    async def _look(self) -> None:
        try:
            purged = await self._store.take_purged()
        except StoreUnavailable as error:
            _log.debug("purges_not_read", error=str(error))
            if self._clock.monotonic() - self._looked > _TRUSTED_SECONDS:
                self._forget_all()
            await self._clock.sleep(_POLL_SECONDS)
            return
        if self._clock.monotonic() - self._looked > _TRUSTED_SECONDS:
            # A purge may have been missed.
            self._forget_all()
        for client_id, user_id in purged:
            self._forget(client_id, user_id)
        self._looked = self._clock.monotonic()

    def _forget(self, client_id: str, user_id: str) -> None:
        self._recent.forget_user(client_id, user_id)
        self._images.forget_client(client_id)
        _forget_schemas()

    def _forget_all(self) -> None:
        self._recent.clear()
        self._images.clear()
        _forget_schemas()


def _forget_schemas() -> None:
    spec_json.forget_schemas()
    validation.forget_schemas()
