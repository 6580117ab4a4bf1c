"""Gives leave for paid calls: as many as the lane's pace admits, at the moment of the call, to the best job first.

An executor asks when all is ready for the call. Whoever would have to wait for long goes back to the queue instead of
holding a slot. Nothing is permitted while the store cannot be reached.
"""

import asyncio
import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from policies import quota
from policies.quota import Ask
from runtime import logs
from runtime.clock import Clock
from scheduler.board import Board
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Permit, Session
from scheduler.lanes import Closure, Lane
from scheduler.ports import LaneStore, StoreClock
from scheduler.records import AttemptId

RELEASE_AFTER = datetime.timedelta(seconds=5)
"""An attempt whose permit is due later gives its slot back."""

AHEAD = datetime.timedelta(seconds=0.05)
"""Permits due within this time are given together: they may be early by it, and late by what is left of the slack."""

_LATE_SECONDS = 0.2
_RETRY_SECONDS = 0.5
_MIN_PAUSE_SECONDS = 0.01
_UNSETTLED_FOR = datetime.timedelta(minutes=11)

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a permit reserved, and when."""

    lane: str
    ask: Ask
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class _Waiting:
    session: Session
    order: tuple[int, int]
    ask: Ask


@dataclass(frozen=True, slots=True)
class _Granted:
    """Whose permit is due when; who may stay in line, and when the first of these may call, None if nobody knows."""

    due_times: Mapping[AttemptId, datetime.datetime]
    in_line: Sequence[AttemptId]
    next_time: datetime.datetime | None


class Permits:
    """Keeps who asks on this scheduler. The pace is the lane's, in the store."""

    def __init__(self, *, store: LaneStore, time: StoreClock, clock: Clock, board: Board) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._board = board
        self._waiting: dict[str, dict[AttemptId, _Waiting]] = {}
        self._reserved: dict[AttemptId, Reservation] = {}
        self._wake = asyncio.Event()

    def ask(self, session: Session, attempt: AttemptId) -> None:
        """An executor is ready for a call; one whose permit was void asks again."""
        held = session.held.get(attempt)
        if held is not None and not held.withdrawn:
            lane = self._waiting.setdefault(held.lane, {})
            lane[attempt] = _Waiting(session, held.order, held.ask)
            self._wake.set()

    def forget(self, attempt: AttemptId) -> None:
        """The attempt is over, or not this scheduler's any more."""
        for lane in self._waiting.values():
            lane.pop(attempt, None)

    def forget_session(self, session: Session) -> None:
        """The executor asks again wherever it is next."""
        for lane in self._waiting.values():
            for attempt in [each for each, waiting in lane.items() if waiting.session is session]:
                del lane[attempt]

    def reserved(self, attempt: AttemptId) -> Reservation | None:
        """Return what was reserved for the attempt and is not settled yet."""
        return self._reserved.get(attempt)

    def settled(self, attempt: AttemptId) -> None:
        """What was reserved for the attempt is settled in its lane."""
        self._reserved.pop(attempt, None)

    def wake(self) -> None:
        """A lane changed."""
        self._wake.set()

    async def run(self) -> None:
        """Give permits until cancelled."""
        pause: float | None = None
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                pause = await self._give()
            except StoreUnavailable as error:
                _log.warning("permits_wait_for_database", error=str(error))
                pause = _RETRY_SECONDS

    async def _give(self) -> float | None:
        """Serve every lane; return the seconds until the next look, None if only an event makes one worth it."""
        self._drop_unsettled()
        pauses = []
        for name in [name for name, waiting in self._waiting.items() if waiting]:
            next_time = await self._serve(name)
            if next_time is not None and self._waiting[name]:
                wait = next_time - AHEAD - self._time.now()
                pauses.append(max(_MIN_PAUSE_SECONDS, wait.total_seconds()))
        return min(pauses, default=None)

    async def _serve(self, name: str) -> datetime.datetime | None:
        """Give what the lane has to give; return when it is worth the next look."""
        waiting = dict(sorted(self._waiting[name].items(), key=lambda item: item[1].order))
        asked_at = self._clock.monotonic()
        now = self._time.now()
        refunds = [self._reserved[attempt] for attempt in waiting if attempt in self._reserved]
        changed = await self._store.change_lane(name, lambda lane: _grant(lane, waiting, refunds, now))
        if changed is None:
            return None
        lane, granted = changed
        self._board.put(lane)
        for attempt in waiting:
            self._reserved.pop(attempt, None)
        if self._clock.monotonic() - asked_at > _LATE_SECONDS:
            # A call that begins this late might share its minute with one too many: what was reserved is lost.
            return self._time.now()
        for attempt, due in granted.due_times.items():
            self._permit(lane, attempt, waiting[attempt], due)
        self._release_others(lane, waiting, granted, now)
        return granted.next_time

    def _permit(self, lane: Lane, attempt: AttemptId, waiting: _Waiting, due: datetime.datetime) -> None:
        if (asked := self._waiting[lane.name].pop(attempt, None)) is not None:
            # Perhaps on another stream meanwhile: whose ask is answered has to hear it.
            asked.session.outbox.put(Permit(attempt, quota.VALIDITY))
        if lane.limits.need_permits:
            self._reserved[attempt] = Reservation(lane.name, waiting.ask, due)

    def _release_others(
        self, lane: Lane, waiting: Collection[AttemptId], granted: _Granted, now: datetime.datetime
    ) -> None:
        """Give the slots back of those whose turn is far away. Who asked meanwhile is served next."""
        keep = set(granted.due_times)
        if granted.next_time is not None:
            between = quota.interval(lane.limits) or datetime.timedelta()
            latest = now + RELEASE_AFTER
            keep |= {
                attempt
                for place, attempt in enumerate(granted.in_line)
                if granted.next_time + place * between <= latest
            }
        for attempt in waiting:
            if attempt not in keep and (asked := self._waiting[lane.name].pop(attempt, None)) is not None:
                asked.session.withdraw([attempt])

    def _drop_unsettled(self) -> None:
        oldest = self._time.now() - _UNSETTLED_FOR
        for attempt in [each for each, reservation in self._reserved.items() if reservation.time < oldest]:
            del self._reserved[attempt]


def _grant(
    lane: Lane, waiting: Mapping[AttemptId, _Waiting], refunds: list[Reservation], now: datetime.datetime
) -> tuple[Lane, _Granted]:
    """Decide who may call now. Waiting ones come in their order."""
    pace = lane.pace
    for refund in refunds:
        pace = quota.settle(pace, refund.ask, Ask(0, 0.0), refund.time, now=now)
    closure = lane.closure(now)
    asking = list(waiting)
    if closure is not None:
        why, until = closure
        if why is not Closure.BREAKER or lane.breaker.probe is None or until is not None:
            return replace(lane, pace=pace), _Granted({}, asking, until)
        asking = [attempt for attempt in asking if tuple(attempt) == lane.breaker.probe]
    pace, due_times = quota.grant(pace, lane.limits, [waiting[attempt].ask for attempt in asking], now=now, ahead=AHEAD)
    granted, in_line = dict(zip(asking, due_times, strict=False)), asking[len(due_times) :]
    next_time = quota.next_time(pace, lane.limits, waiting[in_line[0]].ask, now=now) if in_line else None
    return replace(lane, pace=pace), _Granted(granted, in_line, next_time)
