"""Stores outcomes in batches, and acknowledges each after its commit.

While one batch is written the next one gathers, so an idle system waits for nothing and a busy one writes hundreds at
a time. The buffer is bounded: a full one slows the executors' streams, nothing is dropped. While the database is away
the batch is tried again until it is stored; an outcome that is told again meanwhile is kept once.
"""

import asyncio
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tracing import Tracing
from scheduler.errors import StoreUnavailable
from scheduler.health import LaneHealth
from scheduler.ports import OutcomeStore, StoreClock
from scheduler.records import AttemptId, Ended, FinalRecord, ReturnRecord, RunningAttempt, RunningJob
from scheduler.settlement import (
    Outcome,
    Succeeded,
    overdue,
    record_of,
    settle,
    settle_lost,
    settle_success,
    settle_withdrawn,
)
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.watch import WatchHub

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
        stops: Stops,
        hub: WatchHub,
        stages: StageWriter,
        tracing: Tracing,
        wake: Callable[[], None],
        expect_due: Callable[[datetime.datetime], None],
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._randomness = randomness
        self._health = health
        self._stops = stops
        self._hub = hub
        self._stages = stages
        self._tracing = tracing
        self._wake = wake
        self._expect_due = expect_due
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

    async def add(self, outcomes: Collection[Outcome], acknowledge: Acknowledge) -> None:
        """Take outcomes; returns when all are in the buffer, and calls `acknowledge` after they are stored.

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
                if acknowledge not in entry.acknowledge:
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
        settled = [settle_lost(attempt, job, reason, died=died, now=now) for attempt, job in attempts.items()]
        for attempt in await self._return(settled):
            _log.warning("attempt_lost", job_id=attempt.job_id, attempt=attempt.attempt, reason=reason)

    async def time_out(self, attempts: Mapping[AttemptId, RunningJob]) -> None:
        """End attempts whose executors should have done so long ago, and tell them to stop."""
        for attempt in attempts:
            _log.warning("attempt_overdue", job_id=attempt.job_id, attempt=attempt.attempt)
        await self.add([overdue(attempt) for attempt in attempts], _tell_nobody)
        await self._stops.stop(
            [RunningAttempt(attempt, job.executor_id, job.session) for attempt, job in attempts.items()]
        )

    async def take_back(self, attempts: Mapping[AttemptId, RunningJob], reason: str) -> None:
        """Let the jobs of attempts wait again whose executor gave them back before their call. Raises as `lose`."""
        now = self._time.now()
        await self._return([settle_withdrawn(attempt, job, reason, now=now) for attempt, job in attempts.items()])

    async def _return(self, settled: Sequence[FinalRecord | ReturnRecord]) -> list[AttemptId]:
        """Write what is no executor's outcome; return the attempts that are over by it."""
        over: list[AttemptId] = []
        for start in range(0, len(settled), MAX_BATCH):
            ended, returned = await self._write(settled[start : start + MAX_BATCH])
            over += [*ended.attempts, *returned]
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
        outcomes = [entry.outcome for entry in entries]
        settled = await self._settle(outcomes)
        ended, returned = await self._write(settled)
        await self._note_late([each for each in outcomes if each.attempt_id not in {*ended.attempts, *returned}])
        for back in settled:
            if isinstance(back, ReturnRecord) and back.due_time is not None:
                self._expect_due(back.due_time)
        self._acknowledge(entries)
        if self._tracing.recording:
            now = self._time.now()
            for outcome in outcomes:
                self._tracing.record("complete", outcome.traceparent, start=now, end=self._time.now())

    async def _settle(self, outcomes: Sequence[Outcome]) -> list[FinalRecord | ReturnRecord]:
        """Decide what the outcomes make of their jobs, after their lanes know of them."""
        telling = [
            outcome.attempt_id
            for outcome in outcomes
            if not isinstance(outcome.verdict, Succeeded) or self._health.wants(outcome)
        ]
        running = await self._store.find_running(telling) if telling else {}
        await self._health.note(outcomes, running, self._heard)
        now = self._time.now()
        settled: list[FinalRecord | ReturnRecord] = []
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
                        now=now,
                        draw=self._randomness.draw(),
                    )
                )
        return settled

    async def _write(self, settled: Sequence[FinalRecord | ReturnRecord]) -> tuple[Ended, Collection[AttemptId]]:
        """Store ends and returns, and tell everybody here."""
        finals = [each for each in settled if isinstance(each, FinalRecord)]
        returns = [each for each in settled if isinstance(each, ReturnRecord)]
        ended = await self._store.finish(finals) if finals else Ended()
        # Before the second write, which may fail: nobody could tell it afterwards.
        self._announce(ended.attempts, ended.changed)
        if ended.to_stop:
            await self._stops.stop(ended.to_stop)
        returned = await self._store.give_back(returns) if returns else ()
        self._announce(returned, [attempt.job_id for attempt in returned])
        if returned or len(ended.changed) > len(ended.attempts) or (ended.attempts and self._health.bounds_flight):
            # What came back may be dealt again, and so may a follower in the place of its leader, or the next one of a
            # lane that bounds how many run.
            self._wake()
        return ended, returned

    def _announce(self, over: Collection[AttemptId], changed: Collection[str]) -> None:
        for attempt in over:
            self._stages.forget(attempt)
        for job_id in changed:
            self._hub.job_changed(job_id)

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


def _tell_nobody(attempts: Sequence[AttemptId]) -> None:
    del attempts
