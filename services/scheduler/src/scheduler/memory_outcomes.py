"""What becomes of attempts in the store in memory. See ports.OutcomeStore."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from scheduler.jobs import AttemptOutcome, JobSpec, JobState, Stage
from scheduler.memory_dedup import Dedup
from scheduler.memory_lanes import MemoryLanes
from scheduler.memory_row import JobRow
from scheduler.records import (
    AdvanceRecord,
    AttemptId,
    AttemptRecord,
    Ended,
    FinalRecord,
    ReturnRecord,
    RunningAttempt,
    RunningJob,
)

End = TypeVar("End", FinalRecord, AdvanceRecord)


class MemoryOutcomes(MemoryLanes):
    """The part of the store that ends attempts."""

    _dedup: Dedup

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        return {attempt: row.running for attempt in attempts if (row := self._row(attempt)) and row.runs(attempt)}

    async def finish(self, finals: Sequence[FinalRecord]) -> Ended:
        now = self._time.now()
        ended, to_stop = self._take(finals, JobRow.finish)
        return Ended(
            attempts={row.attempt_id for row in ended},
            changed=[row.job.job_id for row in ended] + self._dedup.end_all(ended, now),
            to_stop=to_stop,
        )

    async def advance(self, advances: Sequence[AdvanceRecord]) -> Ended:
        now = self._time.now()
        advanced, to_stop = self._take(advances, lambda row, advance: row.advance(advance, now))
        passed = {row.job.job_id for row in advanced}
        return Ended(
            attempts={each.record.attempt_id for each in advances if each.record.attempt_id.job_id in passed},
            changed=[row.job.job_id for row in advanced],
            to_stop=to_stop,
        )

    def _take(
        self, ends: Sequence[End], take: Callable[[JobRow, End], bool]
    ) -> tuple[Sequence[JobRow], Sequence[RunningAttempt]]:
        """Let attempts end; return the jobs that took theirs, and what ran there in the place of one of these."""
        taken: list[JobRow] = []
        to_stop: list[RunningAttempt] = []
        for end in ends:
            row = self._row(end.record.attempt_id)
            if row is None:
                continue
            before, lane = _running_attempt(row), row.job.lane
            if take(row, end):
                taken.append(row)
                if before is not None and before.attempt_id != end.record.attempt_id:
                    to_stop.append(before)
                if end.record.outcome is AttemptOutcome.SUCCEEDED:
                    self._forget_failures(lane)
        return taken, to_stop

    async def cancel(self, client_id: str, job_ids: Collection[str]) -> Ended:
        now = self._time.now()
        rows = [
            row
            for job_id in job_ids
            if (row := self._rows.get(job_id)) and row.job.client_id == client_id and not row.job.state.is_final
        ]
        to_stop = [running for row in rows if (running := _running_attempt(row))]
        for row in rows:
            row.cancel(now)
        return Ended(changed=[row.job.job_id for row in rows] + self._dedup.end_all(rows, now), to_stop=to_stop)

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        now = self._time.now()
        return {
            back.record.attempt_id
            for back in returns
            if (row := self._row(back.record.attempt_id)) and row.give_back(back, now)
        }

    async def note_late(self, records: Sequence[AttemptRecord]) -> None:
        for record in records:
            if row := self._row(record.attempt_id):
                row.note_late(record)

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        for attempt, (stage, time) in stages.items():
            if (row := self._row(attempt)) and row.runs(attempt):
                row.note_stage(stage, time)

    async def specs_of(self, job_ids: Collection[str]) -> Mapping[str, tuple[str, JobSpec]]:
        return {
            job_id: (row.job.client_id, row.job.spec)
            for job_id in job_ids
            if (row := self._rows.get(job_id)) is not None
        }

    def _row(self, attempt: AttemptId) -> JobRow | None:
        return self._rows.get(attempt.job_id)


def _running_attempt(row: JobRow) -> RunningAttempt | None:
    if row.job.state is not JobState.RUNNING:
        return None
    return RunningAttempt(row.attempt_id, row.job.executor_id, row.session)
