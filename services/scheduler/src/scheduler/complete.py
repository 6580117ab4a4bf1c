"""Stores outcomes in batches, and acknowledges each after its commit.

While one batch is written the next one gathers, so an idle system waits for nothing and a busy one writes hundreds at
a time. The buffer is bounded: a full one slows the executors' streams, nothing is dropped. While the database is away
the batch is tried again until it is stored.
"""

import asyncio
import datetime
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tracing import Tracing
from scheduler.errors import StoreUnavailable
from scheduler.ports import AttemptId, FinalRecord, OutcomeStore, ReturnRecord, StoreClock
from scheduler.settlement import Outcome, Succeeded, settle, settle_lost, settle_success
from scheduler.stages import StageWriter
from scheduler.watch import WatchHub

MAX_BATCH = 500
MAX_BUFFERED = 10_000
_RETRY_SECONDS = 0.5

Acknowledge = Callable[[Sequence[AttemptId]], None]

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    outcome: Outcome
    acknowledge: Acknowledge


class Completer:
    """The only writer of outcomes in this process."""

    def __init__(
        self,
        *,
        store: OutcomeStore,
        time: StoreClock,
        clock: Clock,
        randomness: Randomness,
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
        self._hub = hub
        self._stages = stages
        self._tracing = tracing
        self._wake = wake
        self._expect_due = expect_due
        self._buffer: asyncio.Queue[_Entry] = asyncio.Queue(MAX_BUFFERED)

    async def add(self, outcomes: Collection[Outcome], acknowledge: Acknowledge) -> None:
        """Take outcomes; returns when all are in the buffer, and calls `acknowledge` after they are stored.

        One that is superseded, or was stored before, is acknowledged too: nobody needs it any more.
        """
        for outcome in outcomes:
            await self._buffer.put(_Entry(outcome, acknowledge))

    async def run(self) -> None:
        """Store outcomes until cancelled."""
        while True:
            batch = {(entry := await self._buffer.get()).outcome.attempt_id.job_id: entry}
            postponed: list[_Entry] = []
            while len(batch) < MAX_BATCH and not self._buffer.empty():
                entry = self._buffer.get_nowait()
                # One batch ends a job once; a second outcome of the same job sees what the first one did.
                if batch.setdefault(entry.outcome.attempt_id.job_id, entry) is not entry:
                    postponed.append(entry)
            await self._store_all(list(batch.values()))
            for entry in postponed:
                await self._store_all([entry])
            for _ in range(len(batch) + len(postponed)):
                self._buffer.task_done()

    async def flush(self) -> None:
        """Wait until everything taken so far is stored."""
        await self._buffer.join()

    async def give_back(self, attempts: Collection[AttemptId], reason: str) -> None:
        """Let the jobs of lost attempts wait again. Raises StoreUnavailable."""
        now = self._time.now()
        returns = [settle_lost(attempt, reason, now=now) for attempt in attempts]
        for start in range(0, len(returns), MAX_BATCH):
            returned = await self._store.give_back(returns[start : start + MAX_BATCH])
            self._announce(returned)
            for attempt in returned:
                _log.warning("attempt_lost", job_id=attempt.job_id, attempt=attempt.attempt, reason=reason)
        self._wake()

    async def _store_all(self, entries: Sequence[_Entry]) -> None:
        while True:
            try:
                await self._write(entries)
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

    async def _write(self, entries: Sequence[_Entry]) -> None:
        finals, returns = await self._settle([entry.outcome for entry in entries])
        ended = await self._store.finish(finals) if finals else ()
        returned = await self._store.give_back(returns) if returns else ()
        self._announce(ended)
        self._announce(returned)
        if returned:
            self._wake()
        for back in returns:
            if back.due_time is not None:
                self._expect_due(back.due_time)
        self._acknowledge(entries)
        if self._tracing.recording:
            now = self._time.now()
            for entry in entries:
                self._tracing.record("complete", entry.outcome.traceparent, start=now, end=self._time.now())

    async def _settle(self, outcomes: Sequence[Outcome]) -> tuple[list[FinalRecord], list[ReturnRecord]]:
        now = self._time.now()
        finals = [
            settle_success(outcome, outcome.verdict, now=now)
            for outcome in outcomes
            if isinstance(outcome.verdict, Succeeded)
        ]
        returns: list[ReturnRecord] = []
        others = [outcome for outcome in outcomes if not isinstance(outcome.verdict, Succeeded)]
        running = await self._store.find_running([outcome.attempt_id for outcome in others]) if others else {}
        for outcome in others:
            job = running.get(outcome.attempt_id)
            if job is None or isinstance(outcome.verdict, Succeeded):
                continue
            settled = settle(outcome, outcome.verdict, job, now=now, draw=self._randomness.draw())
            if isinstance(settled, FinalRecord):
                finals.append(settled)
            else:
                returns.append(settled)
        return finals, returns

    def _announce(self, attempts: Collection[AttemptId]) -> None:
        for attempt in attempts:
            self._stages.forget(attempt)
            self._hub.job_changed(attempt.job_id)

    def _acknowledge(self, entries: Sequence[_Entry]) -> None:
        by_stream: dict[Acknowledge, list[AttemptId]] = {}
        for entry in entries:
            by_stream.setdefault(entry.acknowledge, []).append(entry.outcome.attempt_id)
        for acknowledge, attempts in by_stream.items():
            acknowledge(attempts)
