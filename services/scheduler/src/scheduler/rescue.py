"""Brings the jobs of lost executors back, and watches whether the database is there.

An outage of the database must not look like the death of every executor, whose heartbeats it could not store: nothing
is rescued before the database has answered without a gap for as long as it takes to declare an executor lost.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Protocol

from runtime import logs
from runtime.clock import Clock
from scheduler.board import Board
from scheduler.complete import Completer
from scheduler.errors import StoreUnavailable
from scheduler.ports import ExecutorStore

_INTERVAL_SECONDS = 1.0
_MIN_PAUSE_SECONDS = 0.2
_STALL_SHARE = 0.3
"""A look that is late by more than this share of the lost deadline shows that this process stood still."""

OVERDUE_MARGIN = datetime.timedelta(seconds=30)
"""How much longer than its timeout a call may take before the scheduler ends what its executor should have ended."""

_log = logs.get_logger(__name__)


class Rescue:
    """Looks after the executors once a second, and reports whether the database answers."""

    def __init__(
        self,
        *,
        store: ExecutorStore,
        completer: Completer,
        board: Board,
        withdraw_unaccepted: Callable[[], None],
        clock: Clock,
        lost_after: datetime.timedelta,
        on_health: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._store = store
        self._completer = completer
        self._board = board
        self._withdraw_unaccepted = withdraw_unaccepted
        self._clock = clock
        self._lost_after = lost_after
        self._on_health = on_health
        self._healthy_since: float | None = None
        self._looked_at = 0.0
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except StoreUnavailable as error:
                if self._healthy_since is not None:
                    _log.warning("database_away", error=str(error))
                self._healthy_since = None
                await self._on_health(False)  # noqa: FBT003 - the callback's only argument
            await self._pause()

    def wake(self) -> None:
        """Something changed that is worth a look before the second is over."""
        self._woken.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_INTERVAL_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            pass
        else:
            # Words of others come often under load; a look is not worth more than these.
            await self._clock.sleep(_MIN_PAUSE_SECONDS)
        self._woken.clear()

    async def _look(self) -> None:
        self._withdraw_unaccepted()
        await self._board.refresh()
        now, before = self._clock.monotonic(), self._looked_at
        self._looked_at = now
        stalled_after = _INTERVAL_SECONDS + _STALL_SHARE * self._lost_after.total_seconds()
        if self._healthy_since is not None and now - before > stalled_after:
            # This process stood still, and stored nobody's heartbeats meanwhile.
            _log.warning("rescue_stalled", seconds=round(now - before, 1))
            self._healthy_since = now
        if self._healthy_since is None:
            self._healthy_since = now
            _log.info("database_answers")
            await self._on_health(True)  # noqa: FBT003 - the callback's only argument
        if now - self._healthy_since >= self._lost_after.total_seconds():
            lost = await self._store.declare_lost(self._lost_after)
            if lost:
                await self._completer.lose(lost, "Its executor was lost.", died=True)
            overdue = await self._store.overdue(OVERDUE_MARGIN)
            if overdue:
                await self._completer.time_out(overdue)


class MaintainedStore(Protocol):
    """A store that wants a call now and then."""

    async def maintain(self) -> None: ...


async def maintain(store: MaintainedStore, *, clock: Clock, interval_seconds: float = 60.0) -> None:
    """Maintain the store until cancelled."""
    while True:
        await clock.sleep(interval_seconds)
        try:
            await store.maintain()
        except StoreUnavailable as error:
            _log.warning("maintenance_waits_for_database", error=str(error))
