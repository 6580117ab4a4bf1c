"""What outcomes mean for their lanes: the breaker, the provider's own time, and what was really used."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace

from policies import quota
from policies.breaker import BreakerRules, Health
from policies.quota import Ask
from runtime import logs
from runtime.randomness import Randomness
from scheduler.board import Board
from scheduler.lanes import Lane, after_health, after_throttling
from scheduler.outcomes import Outcome, Succeeded, Throttled, cost_usd
from scheduler.permits import Permits, Reservation
from scheduler.ports import LaneStore, StoreClock
from scheduler.records import AttemptId, RunningJob
from scheduler.signals import Signals

_log = logs.get_logger(__name__)


class LaneHealth:
    """Writes to lanes what running attempts tell of them, before the jobs themselves go back to the queue."""

    def __init__(
        self,
        *,
        store: LaneStore,
        time: StoreClock,
        randomness: Randomness,
        board: Board,
        permits: Permits,
        signals: Signals,
        rules: BreakerRules,
        wake_at: Callable[[Lane], None],
    ) -> None:
        self._store = store
        self._time = time
        self._randomness = randomness
        self._board = board
        self._permits = permits
        self._signals = signals
        self._rules = rules
        self._wake_at = wake_at

    def wants(self, outcome: Outcome) -> bool:
        """Say whether a lane must hear of a success: usually nothing is to be said of it."""
        return self._permits.reserved(outcome.attempt_id) is not None or not self._board.breakers_closed

    @property
    def bounds_flight(self) -> bool:
        """Whether the end of an attempt may let another one begin in its lane."""
        return self._board.bounds_flight

    async def note(
        self,
        outcomes: Sequence[Outcome],
        running: Mapping[AttemptId, RunningJob],
        heard: MutableMapping[AttemptId, bool],
    ) -> None:
        """Note what the running attempts among these tell of their lanes. Raises StoreUnavailable.

        Args:
            outcomes: The ends.
            running: What is known of those that run.
            heard: For each attempt that a lane heard of, whether the lane's breaker was closed until then. Those that
                are there are not told again, however often their outcomes have to be stored.
        """
        by_lane: defaultdict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            job = running.get(outcome.attempt_id)
            if job is not None and outcome.attempt_id not in heard:
                by_lane[job.lane].append(outcome)
        for name, told in by_lane.items():
            heard.update(await self._note_lane(name, told))

    async def _note_lane(self, name: str, told: Sequence[Outcome]) -> Mapping[AttemptId, bool]:
        reservations = {
            outcome.attempt_id: reservation
            for outcome in told
            if (reservation := self._permits.reserved(outcome.attempt_id)) is not None
        }
        before = self._board.lane(name)
        if not reservations and before.breaker.is_closed and all(isinstance(each.verdict, Succeeded) for each in told):
            # The end of the job itself resets the lane's streak.
            return {outcome.attempt_id: True for outcome in told}
        draw = self._randomness.draw()
        changed = await self._store.change_lane(name, lambda lane: self._after(lane, told, reservations, draw))
        if changed is None:
            return {}
        lane, closed = changed
        for attempt in reservations:
            self._permits.settled(attempt)
        self._board.put(lane)
        self._announce(before, lane)
        return closed

    def _after(
        self, lane: Lane, told: Sequence[Outcome], reservations: Mapping[AttemptId, Reservation], draw: float
    ) -> tuple[Lane, Mapping[AttemptId, bool]]:
        """Return the lane after all outcomes, and for each whether the breaker was closed before it."""
        now = self._time.now()
        closed = {}
        for outcome in told:
            closed[outcome.attempt_id] = lane.breaker.is_closed
            lane = after_health(lane, outcome.attempt_id, outcome.health, now=now, rules=self._rules)
            if isinstance(outcome.verdict, Throttled):
                lane = after_throttling(
                    lane,
                    provider_time=outcome.verdict.retry_after,
                    stop=outcome.verdict.lane_stop,
                    now=now,
                    draw=draw,
                )
            used = _used(outcome, now.date())
            reservation = reservations.get(outcome.attempt_id)
            if reservation is not None and used is not None:
                pace = quota.settle(lane.pace, reservation.ask, used, reservation.time, now=now)
                lane = replace(lane, pace=quota.reconsider(pace, lane.limits, reservation.ask, now=now))
        return lane, closed

    def _announce(self, before: Lane, lane: Lane) -> None:
        now = self._time.now()
        if before.closure(now) != lane.closure(now):
            _log.warning(
                "lane_stands_otherwise",
                lane=lane.name,
                closure=closure[0].name if (closure := lane.closure(now)) else None,
                until=str(closure[1]) if closure and closure[1] else None,
                stopped_reason=lane.stopped_reason or None,
            )
            self._signals.announce()
        elif before.pace.next_permit_time == lane.pace.next_permit_time:
            return
        # What calls did not use of what was reserved for them is there for others.
        self._permits.wake()
        self._wake_at(lane)


def _used(outcome: Outcome, day: datetime.date) -> Ask | None:
    """Return what a call really used; None where nobody knows, so that the reservation ages out."""
    if outcome.usage is not None:
        return Ask(outcome.usage.input_tokens, cost_usd(outcome, day))
    return None if outcome.paid or outcome.health is Health.FAILED else Ask(0, 0.0)
