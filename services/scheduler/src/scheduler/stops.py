"""Stops attempts wherever they run: here at once, elsewhere by a word to the other schedulers."""

import asyncio
from collections.abc import Iterable, Sequence

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Fleet, Stop
from scheduler.permits import Permits
from scheduler.ports import CommandStore
from scheduler.records import RunningAttempt
from scheduler.signals import Signals

_POLL_SECONDS = 0.5

_log = logs.get_logger(__name__)


class Stops:
    """Sends words to stop, and listens to those of others."""

    def __init__(self, *, store: CommandStore, fleet: Fleet, permits: Permits, signals: Signals, clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._permits = permits
        self._signals = signals
        self._clock = clock
        self._wake = asyncio.Event()

    async def stop(self, attempts: Sequence[RunningAttempt]) -> None:
        """Stop attempts that nobody needs any more.

        Where the word gets lost, the executor hears it when it next lists what it holds.
        """
        elsewhere = self._stop_here(attempts)
        if not elsewhere:
            return
        try:
            await self._store.post_stops(elsewhere)
        except StoreUnavailable as error:
            _log.warning("stops_not_posted", attempts=len(elsewhere), error=str(error))
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
            if not self._fleet.sessions:
                continue
            try:
                self._stop_here(await self._store.take_stops())
            except StoreUnavailable as error:
                _log.debug("stops_not_read", error=str(error))
                await self._clock.sleep(_POLL_SECONDS)

    def _stop_here(self, attempts: Iterable[RunningAttempt]) -> list[RunningAttempt]:
        """Tell the executors that are connected here; return the attempts of the others."""
        elsewhere = []
        for running in attempts:
            self._permits.forget(running.attempt_id)
            session = self._fleet.get(running.executor_id, running.session)
            if session is None:
                elsewhere.append(running)
            else:
                session.outbox.put(Stop(running.attempt_id))
        return elsewhere
