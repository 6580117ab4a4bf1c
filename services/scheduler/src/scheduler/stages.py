"""Stores the stages of running attempts for other schedulers and later readers: coalesced, and only the latest."""

import asyncio
import datetime

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.jobs import Stage
from scheduler.ports import OutcomeStore
from scheduler.records import AttemptId

_COALESCE_SECONDS = 0.25

_log = logs.get_logger(__name__)


class StageWriter:
    """Collects stages, and writes them four times a second."""

    def __init__(self, *, store: OutcomeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: dict[AttemptId, tuple[Stage, datetime.datetime]] = {}
        self._noted = asyncio.Event()

    def note(self, attempt: AttemptId, stage: Stage, time: datetime.datetime) -> None:
        self._pending[attempt] = (stage, time)
        self._noted.set()

    def forget(self, attempt: AttemptId) -> None:
        """The attempt is over: nothing needs to be written."""
        self._pending.pop(attempt, None)

    async def run(self) -> None:
        """Write until cancelled. A stage that the database missed is not worth a second try: the next one follows."""
        while True:
            await self._noted.wait()
            await self._clock.sleep(_COALESCE_SECONDS)
            self._noted.clear()
            pending, self._pending = self._pending, {}
            try:
                if pending:
                    await self._store.note_stages(pending)
            except StoreUnavailable as error:
                _log.debug("stages_not_stored", attempts=len(pending), error=str(error))
