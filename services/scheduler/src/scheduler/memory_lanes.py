"""The lanes of the store in memory, and the words from scheduler to scheduler. See ports.LaneStore."""

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from scheduler.jobs import JobState, Stage
from scheduler.lanes import Lane
from scheduler.memory_row import JobRow
from scheduler.ports import StoreClock
from scheduler.records import AttemptId, Head, Heads, LaneLoad, RunningAttempt

T = TypeVar("T")

_BEFORE_CALL = (Stage.STARTING, Stage.FETCHING_IMAGE, Stage.WAITING_FOR_PERMIT)


class MemoryLanes:
    """The part of the store that knows lanes, and the order of the jobs in them."""

    def __init__(self, *, clock: StoreClock) -> None:
        self._time = clock
        self._rows: dict[str, JobRow] = {}
        self._lanes: dict[str, Lane] = {}
        self._accepting = True
        self._stops: list[RunningAttempt] = []

    async def add_lanes(self, names: Collection[str]) -> None:
        for name in names:
            self._lane(name)

    async def lanes(self) -> Sequence[Lane]:
        return [self._lanes[name] for name in sorted(self._lanes)]

    async def lane_loads(self) -> Mapping[str, LaneLoad]:
        waiting = Counter(
            row.job.lane for row in self._rows.values() if row.job.state in (JobState.SCHEDULED, JobState.QUEUED)
        )
        running = Counter(row.job.lane for row in self._in_state(JobState.RUNNING))
        return {name: LaneLoad(waiting[name], running[name]) for name in {*waiting, *running}}

    async def in_flight(self, lanes: Collection[str]) -> Mapping[str, int]:
        return Counter(row.job.lane for row in self._in_state(JobState.RUNNING) if row.job.lane in lanes)

    async def shares(self, lanes: Collection[str], count: int) -> Mapping[str, int]:
        best = [row for row in self._claimable() if row.job.lane in lanes][:count]
        return Counter(row.job.lane for row in best)

    async def change_lane(self, name: str, decide: Callable[[Lane], tuple[Lane, T]]) -> tuple[Lane, T] | None:
        if name not in self._lanes:
            return None
        self._lanes[name], answer = decide(self._lanes[name])
        return self._lanes[name], answer

    async def is_accepting(self) -> bool:
        return self._accepting

    async def set_accepting(self, *, accepting: bool) -> None:
        self._accepting = accepting

    async def post_stops(self, attempts: Sequence[RunningAttempt]) -> None:
        self._stops += attempts

    async def take_stops(self) -> Sequence[RunningAttempt]:
        stops, self._stops = self._stops, []
        return stops

    async def lane_heads(self, *, thorough: bool) -> Heads:
        del thorough  # Nothing is ever overlooked here.
        now = self._time.now()
        heads: dict[str, Head] = {}
        for row in self._claimable():
            heads.setdefault(row.job.lane, Head(row.job.lane, *row.order))
        times = {name: self._lanes[name].claim_time(probe_runs=self._probe_runs(name)) for name in heads}
        later = [time for time in times.values() if time is not None and time > now]
        return Heads(
            heads=[
                head
                for name, head in heads.items()
                if (time := times[name]) is not None and time <= now and self._takes(name, now) != 0
            ],
            next_time=min(later, default=None),
        )

    def _lane(self, name: str) -> Lane:
        return self._lanes.setdefault(name, Lane(name=name))

    def _probe(self, name: str, attempt: AttemptId) -> None:
        """Note that this attempt asks for all."""
        lane = self._lanes[name]
        self._lanes[name] = replace(lane, breaker=replace(lane.breaker, probe=(attempt.job_id, attempt.attempt)))

    def _probe_runs(self, name: str) -> bool:
        probe = self._lanes[name].breaker.probe
        if probe is None:
            return False
        row = self._rows.get(probe[0])
        return row is not None and row.runs(AttemptId(*probe))

    def _takes(self, name: str, now: datetime.datetime) -> int | None:
        """Return how many jobs the lane takes now; None means any number."""
        lane = self._lane(name)
        time = lane.claim_time(probe_runs=self._probe_runs(name))
        if time is None or time > now:
            return 0
        running = [row for row in self._in_state(JobState.RUNNING) if row.job.lane == name]
        unpermitted = [row for row in running if row.job.stage in _BEFORE_CALL]
        return lane.claimable(in_flight=len(running), unpermitted=len(unpermitted), now=now)

    def _forget_failures(self, name: str) -> None:
        """A success ends every streak of a lane whose breaker is closed."""
        lane = self._lanes[name]
        if lane.breaker.is_closed:
            self._lanes[name] = replace(lane, throttles=0, breaker=replace(lane.breaker, failures=0))

    def _claimable(self) -> list[JobRow]:
        """Return the jobs that wait for their turn, best (rank, seq) first."""
        now = self._time.now()
        return sorted(
            (row for row in self._rows.values() if row.is_claimable and not row.has_expired(now)),
            key=lambda row: row.order,
        )

    def _in_state(self, state: JobState) -> list[JobRow]:
        """Return the jobs in a state, best (rank, seq) first."""
        return sorted((row for row in self._rows.values() if row.job.state is state), key=lambda row: row.order)
