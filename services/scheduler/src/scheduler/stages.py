"""Stores the stages of running attempts for other schedulers and later readers: coalesced, and only the latest."""

import asyncio
import datetime
from dataclasses import dataclass

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.jobs import Stage
from scheduler.ports import OutcomeStore
from scheduler.records import AttemptId

_COALESCE_SECONDS = 0.25

_TRY_SECONDS = 4.0
"""How long a stage is worth another try. When the database is away for longer, executors dial anew and tell theirs again,
perhaps to another scheduler, whose word an older one must not replace."""

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Noted:
    """A stage, since when, and until when it is worth a try, in monotonic seconds."""

    stage: Stage
    time: datetime.datetime
    try_until: float


class StageWriter:
    """Collects stages, and writes them four times a second."""

    def __init__(self, *, store: OutcomeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: dict[AttemptId, _Noted] = {}
        self._noted = asyncio.Event()

    def note(self, attempt: AttemptId, stage: Stage, time: datetime.datetime) -> None:
        self._pending[attempt] = _Noted(stage, time, self._clock.monotonic() + _TRY_SECONDS)
        self._noted.set()

    def forget(self, attempt: AttemptId) -> None:
        """The attempt is over: nothing needs to be written."""
        self._pending.pop(attempt, None)

    async def run(self) -> None:
        """Write until cancelled.

        What the database missed is tried again: the announcement of a call is the last stage for minutes, and tells
        whether an attempt that is lost may have been paid for.
        """
        while True:
            await self._noted.wait()
            await self._clock.sleep(_COALESCE_SECONDS)
            self._noted.clear()
            pending, self._pending = self._pending, {}
            try:
                if pending:
                    await self._store.note_stages(
                        {attempt: (each.stage, each.time) for attempt, each in pending.items()}
                    )
            except StoreUnavailable as error:
                _log.debug("stages_not_stored", attempts=len(pending), error=str(error))
                self._take_back(pending)

    def _take_back(self, missed: dict[AttemptId, _Noted]) -> None:
        now = self._clock.monotonic()
        self._pending = {attempt: each for attempt, each in missed.items() if now < each.try_until} | self._pending
        if self._pending:
            self._noted.set()
