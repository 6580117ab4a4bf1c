"""The database as a scheduler sees it: one store in memory for all, behind a connection that takes time and breaks.

What was sent is done, also when the sender is dead or frozen by then; what was done may never be heard of.
"""

import asyncio
import datetime
import functools
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sim_loop import SimulatedClock, SimulatedLoop

from scheduler.errors import StoreUnavailable
from scheduler.jobs import AttemptOutcome
from scheduler.lanes import Lane
from scheduler.memory_row import JobRow
from scheduler.memory_store import MemoryStore
from scheduler.records import AdvanceRecord, AttemptId, AttemptRecord, Ended, ReturnRecord, RunningAttempt

T = TypeVar("T")

_TIMEOUT_SECONDS = 2.0


class SimulatedDatabase:
    """The one database, and whether it answers."""

    def __init__(self, loop: SimulatedLoop, draws: random.Random) -> None:
        self.loop = loop
        self.draws = draws
        self.store = MemoryStore(clock=SimulatedClock(loop))
        self.away_until = 0.0
        self.on_wrong: Callable[[str], None] = lambda _: None
        self.slow = 0.0
        self.paid_cap = 0
        self.stops: list[RunningAttempt] = []
        # When jobs came to their second step.
        self.advanced: dict[str, datetime.datetime] = {}
        # Useless answers that were followed by another attempt, by job, step and flaw.
        self.met_flaws: Counter[tuple[str, int, str]] = Counter()

    @property
    def is_away(self) -> bool:
        return self.loop.now < self.away_until

    def delay(self) -> float:
        """Return how long a statement, or its result, is under way: now and then for as long as a lock is waited for."""
        return self.draws.uniform(0.05, 1.0) if self.draws.random() < self.slow else self.draws.uniform(0.0001, 0.004)

    def run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Do one statement now."""
        if method == "give_back":
            return self._give_back(*args)
        if method == "advance":
            return self._advance(*args)
        return _result(getattr(self.store, method)(*args, **kwargs))

    def _advance(self, advances: Sequence[AdvanceRecord]) -> Any:
        """Let jobs come to their next step, and note when."""
        ended: Ended = _result(self.store.advance(advances))
        now = SimulatedClock(self.loop).now()
        for attempt in ended.attempts:
            if attempt.job_id in self.advanced:
                self.on_wrong(f"{attempt.job_id} came to its second step twice")
            self.advanced[attempt.job_id] = now
        return ended

    def _give_back(self, returns: Sequence[ReturnRecord]) -> Any:
        """Give attempts back, and note when one is lost whose executor lives, in the session that it lives in."""
        sessions = {attempt: self.store._rows[attempt.job_id].session for attempt in _lost(returns)}
        returned = _result(self.store.give_back(returns))
        for record in (back.record for back in returns if back.record.attempt_id in returned):
            self._look_at_what_waits_again(self.store._rows[record.attempt_id.job_id], record)
        for attempt in returned:
            executor = self.store._executors.get(self.store._rows[attempt.job_id].job.executor_id)
            if executor is not None and sessions.get(attempt) == executor.session and not executor.is_lost:
                self.on_wrong(f"{attempt} was taken from a living executor")
        return returned

    def _look_at_what_waits_again(self, row: JobRow, record: AttemptRecord) -> None:
        job = row.job
        if record.flaw:
            self.met_flaws[job.job_id, job.step, record.flaw] += 1
        if row.paid_calls >= (self.paid_cap or job.spec.max_retries + 1):
            self.on_wrong(f"{job.job_id} waits for another call after {row.paid_calls} that may have been billed")


class SimulatedConnection:
    """Implements ports.Store for one scheduler."""

    def __init__(self, database: SimulatedDatabase) -> None:
        self._database = database
        self._stops_read = len(database.stops)

    @property
    def time(self) -> SimulatedClock:
        return SimulatedClock(self._database.loop)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._ask(lambda: self._database.run(method, *args, **kwargs))

        return call

    async def maintain(self) -> None:
        await self._ask(lambda: None)

    async def change_lane(self, name: str, decide: Callable[[Lane], tuple[Lane, T]]) -> tuple[Lane, T] | None:
        """Read, decide here, compare and set: as a real connection does."""
        lanes = self._database.store._lanes
        while True:
            lane = await self._ask(lambda: lanes.get(name))
            if lane is None:
                return None
            changed, answer = decide(lane)
            if changed == lane or await self._ask(functools.partial(_set, lanes, lane, changed)):
                return changed, answer

    async def post_stops(self, attempts: Sequence[RunningAttempt]) -> None:
        await self._ask(lambda: self._database.stops.extend(attempts))

    async def take_stops(self) -> Sequence[RunningAttempt]:
        stops: list[RunningAttempt] = await self._ask(lambda: self._database.stops[self._stops_read :])
        self._stops_read += len(stops)
        return stops

    async def _ask(self, statement: Callable[[], T]) -> T:
        """Send a statement, and wait for its result."""
        database = self._database
        answered: asyncio.Future[T] = database.loop.create_future()
        going, coming = database.delay(), database.delay()

        def fail() -> None:
            if not answered.done():
                answered.set_exception(StoreUnavailable("The simulated database is away."))

        def finish(result: T) -> None:
            if database.is_away:
                database.loop.later(_TIMEOUT_SECONDS, fail)
            elif not answered.done():
                answered.set_result(result)

        def do() -> None:
            if database.is_away:
                database.loop.later(_TIMEOUT_SECONDS, fail)
                return
            try:
                result = statement()
            except Exception as error:  # noqa: BLE001 - it is the caller's
                if not answered.done():
                    answered.set_exception(error)
                return
            database.loop.later(coming, finish, result)

        database.loop.later(going, do)
        return await answered


def _result(call: Coroutine[Any, Any, T]) -> T:
    """Return what a method of the store returns, which never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("The store waited in the middle of a call.")


def _lost(returns: Sequence[ReturnRecord]) -> list[AttemptId]:
    return [back.record.attempt_id for back in returns if back.record.outcome is AttemptOutcome.LOST]


def _set(lanes: dict[str, Lane], expected: Lane, changed: Lane) -> bool:
    if lanes[expected.name] != expected:
        return False
    lanes[expected.name] = changed
    return True
