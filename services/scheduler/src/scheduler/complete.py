"""Stores outcomes in batches, and acknowledges each after its commit.

While one batch is written the next one gathers, so an idle system waits for nothing and a busy one writes hundreds at
a time. The buffer is bounded: a full one slows the executors' streams, nothing is dropped. While the database is away
the batch is tried again until it is stored; an outcome that is told again meanwhile is kept once.
"""

import asyncio
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tracing import Tracing
from scheduler.errors import StoreUnavailable
from scheduler.findings import Findings
from scheduler.health import LaneHealth
from scheduler.outcomes import Outcome, Succeeded, record_of
from scheduler.ports import OutcomeStore, StoreClock
from scheduler.records import AttemptId, FinalRecord, ReturnRecord, RunningAttempt, RunningJob
from scheduler.settlement import overdue, settle, settle_lost, settle_success, settle_withdrawn
from scheduler.stops import Stops
from scheduler.writing import OutcomeWriter, Settled

MAX_BATCH = 500
MAX_BUFFERED = 10_000
_RETRY_SECONDS = 0.5

Acknowledge = Callable[[Sequence[AttemptId]], None]

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An outcome, and who waits to hear that it is stored: every stream that told it."""

    outcome: Outcome
    acknowledge: list[Acknowledge] = field(default_factory=list)


class Completer:
    """The only writer of outcomes in this process."""

    def __init__(
        self,
        *,
        store: OutcomeStore,
        time: StoreClock,
        clock: Clock,
        randomness: Randomness,
        health: LaneHealth,
        writer: OutcomeWriter,
        findings: Findings,
        stops: Stops,
        tracing: Tracing,
        paid_cap: int = 0,
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._randomness = randomness
        self._health = health
        self._writer = writer
        self._findings = findings
        self._stops = stops
        self._tracing = tracing
        self._paid_cap = paid_cap
        # Not begun yet, by attempt; written by `add`, emptied by `run`.
        self._gathered: dict[AttemptId, _Entry] = {}
        self._being_stored: dict[AttemptId, _Entry] = {}
        # Of these their lanes know already, and whether the breaker was closed until then.
        self._heard: dict[AttemptId, bool] = {}
        self._changed = asyncio.Condition()

    @property
    def fill(self) -> float:
        """How full the buffer is, from 0 to 1."""
        return len(self._gathered) / MAX_BUFFERED

    async def add(self, outcomes: Collection[Outcome], acknowledge: Acknowledge | None) -> None:
        """Take outcomes; returns when all are in the buffer, and calls `acknowledge`, if given, after they are stored.

        One that is superseded, or was stored before, is acknowledged too: nobody needs it any more.
        """
        async with self._changed:
            for outcome in outcomes:
                entry = self._being_stored.get(outcome.attempt_id) or self._gathered.get(outcome.attempt_id)
                if entry is None:
                    # Whoever empties a full buffer must know of it.
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: len(self._gathered) < MAX_BUFFERED)
                    entry = self._gathered.setdefault(outcome.attempt_id, _Entry(outcome))
                if acknowledge is not None and acknowledge not in entry.acknowledge:
                    entry.acknowledge.append(acknowledge)
            self._changed.notify_all()

    async def run(self) -> None:
        """Store outcomes until cancelled."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._gathered)
                self._being_stored, self._heard = self._next_batch(), {}
                self._changed.notify_all()
            await self._store_all(list(self._being_stored.values()))
            async with self._changed:
                self._being_stored = {}
                self._changed.notify_all()

    async def flush(self) -> None:
        """Wait until everything taken so far is stored."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._gathered and not self._being_stored)

    async def lose(self, attempts: Mapping[AttemptId, RunningJob], reason: str, *, died: bool = False) -> None:
        """Let the jobs of lost attempts wait again, those that still run in the session that was lost.

        Args:
            attempts: Which ones.
            reason: What happened, for people.
            died: Whether their executors may have died of them.

        Raises:
            StoreUnavailable: Some may be given back, the others can be lost again.
        """
        now = self._time.now()
        settled = [
            settle_lost(attempt, job, reason, died=died, paid_cap=self._paid_cap, now=now)
            for attempt, job in attempts.items()
        ]
        for attempt in await self._return(settled):
            _log.warning("attempt_lost", job_id=attempt.job_id, attempt=attempt.attempt, reason=reason)

    async def time_out(self, attempts: Mapping[AttemptId, RunningJob]) -> None:
        """End attempts whose executors should have done so long ago, and tell them to stop."""
        for attempt in attempts:
            _log.warning("attempt_overdue", job_id=attempt.job_id, attempt=attempt.attempt)
        await self.add([overdue(attempt, job) for attempt, job in attempts.items()], None)
        await self._stops.stop(
            [RunningAttempt(attempt, job.executor_id, job.session) for attempt, job in attempts.items()]
        )

    async def take_back(
        self, attempts: Mapping[AttemptId, RunningJob], reason: str, *, after: datetime.timedelta | None = None
    ) -> None:
        """Let the jobs of attempts wait again that never came to their call, at once or after a while. Raises as `lose`."""
        now = self._time.now()
        await self._return(
            [
                settle_withdrawn(attempt, job, reason, after=after, paid_cap=self._paid_cap, now=now)
                for attempt, job in attempts.items()
            ]
        )

    async def _return(self, settled: Sequence[FinalRecord | ReturnRecord]) -> list[AttemptId]:
        """Write what is no executor's outcome; return the attempts that are over by it."""
        over: list[AttemptId] = []
        for start in range(0, len(settled), MAX_BATCH):
            over += await self._writer.write(settled[start : start + MAX_BATCH])
        return over

    def _next_batch(self) -> dict[AttemptId, _Entry]:
        """Take the next outcomes, one of each job: a second one sees what the first one did."""
        batch: dict[str, AttemptId] = {}
        for attempt in self._gathered:
            batch.setdefault(attempt.job_id, attempt)
            if len(batch) == MAX_BATCH:
                break
        return {attempt: self._gathered.pop(attempt) for attempt in batch.values()}

    async def _store_all(self, entries: Sequence[_Entry]) -> None:
        while True:
            try:
                await self._store_batch(entries)
            except StoreUnavailable as error:
                _log.warning("outcomes_wait_for_database", outcomes=len(entries), error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
                if len(entries) > 1:
                    # Perhaps it is not away, but the batch too large for the time that a statement has.
                    await self._store_halves(entries)
                    return
            except Exception as error:  # noqa: BLE001 - whatever a row does to the database must not strand the others
                if len(entries) == 1:
                    # The row itself is at fault. It is not acknowledged: the executor keeps it on its spool.
                    job_id = entries[0].outcome.attempt_id.job_id
                    _log.error("outcome_refused_by_database", job_id=job_id, error=repr(error))
                    return
                _log.warning("outcomes_bisected", outcomes=len(entries), error=type(error).__name__)
                await self._store_halves(entries)
                return
            else:
                return

    async def _store_halves(self, entries: Sequence[_Entry]) -> None:
        middle = len(entries) // 2
        await self._store_all(entries[:middle])
        await self._store_all(entries[middle:])

    async def _store_batch(self, entries: Sequence[_Entry]) -> None:
        outcomes = await self._located([entry.outcome for entry in entries])
        settled = await self._settle(outcomes)
        over = await self._writer.write(settled)
        await self._note_late([each for each in outcomes if each.attempt_id not in over])
        self._acknowledge(entries)
        # What counted alone: one that is told again must not be noted again.
        self._findings.add([each for each in outcomes if each.attempt_id in over])
        if self._tracing.recording:
            now = self._time.now()
            for outcome in outcomes:
                self._tracing.record("complete", outcome.traceparent, start=now, end=self._time.now())

    async def _located(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Return the outcomes with the lane of each: only those that come late, or from elsewhere, lack it."""
        nowhere = {outcome.attempt_id.job_id for outcome in outcomes if not outcome.lane}
        if not nowhere:
            return outcomes
        specs = await self._store.specs_of(nowhere)
        return [
            replace(outcome, lane=specs[outcome.attempt_id.job_id][1].lane_of(outcome.step))
            if not outcome.lane and outcome.attempt_id.job_id in specs
            else outcome
            for outcome in outcomes
        ]

    async def _settle(self, outcomes: Sequence[Outcome]) -> list[Settled]:
        """Decide what the outcomes make of their jobs, after their lanes know of them."""
        telling = [
            outcome.attempt_id
            for outcome in outcomes
            if not isinstance(outcome.verdict, Succeeded) or self._health.wants(outcome)
        ]
        running = await self._store.find_running(telling) if telling else {}
        await self._health.note(outcomes, running, self._heard)
        now = self._time.now()
        settled: list[Settled] = []
        for outcome in outcomes:
            job = running.get(outcome.attempt_id)
            if isinstance(outcome.verdict, Succeeded):
                settled.append(settle_success(outcome, outcome.verdict, now=now))
            elif job is not None:
                settled.append(
                    settle(
                        outcome,
                        outcome.verdict,
                        job,
                        breaker_closed=self._heard.get(outcome.attempt_id, True),
                        paid_cap=self._paid_cap,
                        now=now,
                        draw=self._randomness.draw(),
                    )
                )
        return settled

    async def _note_late(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what was paid for jobs that needed it no longer."""
        now = self._time.now()
        costly = [record_of(outcome, now=now) for outcome in outcomes if outcome.paid or outcome.usage is not None]
        if costly:
            await self._store.note_late(costly)

    def _acknowledge(self, entries: Sequence[_Entry]) -> None:
        by_stream: dict[Acknowledge, list[AttemptId]] = {}
        for entry in entries:
            for acknowledge in entry.acknowledge:
                by_stream.setdefault(acknowledge, []).append(entry.outcome.attempt_id)
        for acknowledge, attempts in by_stream.items():
            acknowledge(attempts)
