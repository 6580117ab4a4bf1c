"""One job in the store in memory, and all that may happen to it: a claim, a stage, a return, an end.

Which job comes next does not stand here.
"""

import datetime
from dataclasses import replace

from scheduler.jobs import AttemptOutcome, Job, JobError, JobState, NewJob, Result, Stage, Usage
from scheduler.memory_attempts import EndedAttempts, entered, without_message
from scheduler.memory_queued_job import QueuedJob
from scheduler.memory_usage import MemoryUsage
from scheduler.records import (
    AdvanceRecord,
    AttemptRecord,
    ClaimedJob,
    FinalRecord,
    ReturnRecord,
    Slots,
)

_UNFINISHED = (AttemptOutcome.LOST, AttemptOutcome.CANCELLED)
_CANCELLED = JobError(kind="CANCELLED", message="The job was cancelled.", retryable=False)
_SUPERSEDED = JobError(kind="CANCELLED", message="An earlier attempt succeeded late.", retryable=False)


class JobRow(QueuedJob):
    """A job, and what may happen to it."""

    def start(self, slot: Slots, now: datetime.datetime, *, permit_required: bool) -> ClaimedJob:
        """Begin the next attempt."""
        self.session = slot.session
        self.attempt_time = now
        self.job = replace(
            self.job,
            state=JobState.RUNNING,
            attempt=self.job.attempt + 1,
            executor_id=slot.executor_id,
            stage=Stage.STARTING,
            stage_start_time=now,
            start_time=self.job.start_time or now,
        )
        return ClaimedJob(
            attempt_id=self.attempt_id,
            executor_id=slot.executor_id,
            session=slot.session,
            client_id=self.job.client_id,
            lane=self.job.lane,
            rank=self.rank,
            seq=self.seq,
            step=self.job.step,
            spec=self.job.spec,
            retry_count=self.job.retry_count,
            permit_required=permit_required,
            traceparent=self.job.traceparent,
            queued_time=self.queued_time,
            start_time=now,
            flaws=self.flaws,
        )

    def take_back(self, session: int, executor_id: str) -> bool:
        """Let an attempt run on that was given up, if its job only waits and it was this executor's."""
        known = self.ended.get(self.job.attempt)
        if not (self.is_claimable and known is not None and known.outcome is AttemptOutcome.LOST):
            return False
        if (known.executor_id, known.step) != (executor_id, self.job.step):
            return False
        self.ended.forget(self.job, self.job.attempt)
        # It was not lost after all.
        self.paid_calls -= self.last_paid
        if not self.last_paid and self.preparing_deaths:
            self.preparing_deaths -= 1
        self.session = session
        self.job = replace(self.job, state=JobState.RUNNING, stage=Stage.STARTING, stage_start_time=known.start_time)
        return True

    def note_stage(self, stage: Stage, time: datetime.datetime) -> None:
        self.job = replace(self.job, stage=stage, stage_start_time=time)

    def raise_to(self, rank: int, now: datetime.datetime) -> None:
        """Let it stand at least this rank."""
        if rank < self.rank:
            self.rank, self.rank_time = rank, now

    def give_back(self, back: ReturnRecord, now: datetime.datetime) -> bool:
        """Let the job wait again; return whether the attempt was the running one."""
        if not self.runs(back.record.attempt_id, back.session):
            return False
        self._record(back.record)
        self.queued_time = now
        self.last_paid = back.record.paid
        self.paid_calls += self.last_paid
        self.preparing_deaths += back.died_preparing
        if back.record.flaw:
            self.flaws += (back.record.flaw,)
        self.job = replace(
            self.job,
            state=JobState.QUEUED if back.due_time is None else JobState.SCHEDULED,
            next_attempt_time=back.due_time,
            retry_count=self.job.retry_count + back.charged,
            stage=None,
            stage_start_time=None,
        )
        return True

    def fall_due(self, now: datetime.datetime) -> None:
        """Make a SCHEDULED job QUEUED."""
        self.queued_time = now
        self.job = replace(self.job, state=JobState.QUEUED, next_attempt_time=None)

    def finish(self, final: FinalRecord) -> bool:
        """End the job; return whether the attempt may."""
        record = final.record
        succeeded = final.state is JobState.SUCCEEDED
        may_end = (
            self.is_in_step(record.attempt_id, final.step) and self.is_in_last_step
            if succeeded
            else self.runs(record.attempt_id, final.session)
        )
        if not may_end:
            return False
        self._supersede(record)
        self._record(record)
        self._end(
            final.state,
            record.finish_time,
            attempt=record.attempt_id.attempt,
            error=(final.error or record.error) if final.state is JobState.FAILED else None,
            result=self._result(final) if succeeded else None,
        )
        return True

    def advance(self, advance: AdvanceRecord, now: datetime.datetime) -> bool:
        """Let the job wait for its next step; return whether the attempt may bring it there."""
        record = advance.record
        if self.is_in_last_step or not self.is_in_step(record.attempt_id, advance.step):
            return False
        self._supersede(record)
        self._record(record)
        self.step_output, self.passed_by = advance.output_json, record.attempt_id.attempt
        self.queued_time = now
        self.paid_calls = self.preparing_deaths = 0
        self.flaws = ()
        self.job = replace(
            self.job,
            state=JobState.QUEUED,
            step=self.job.step + 1,
            retry_count=0,
            stage=None,
            stage_start_time=None,
            next_attempt_time=None,
        )
        return True

    def cancel(self, now: datetime.datetime) -> None:
        """End the job, which is not final."""
        if self.job.state is JobState.RUNNING:
            self._abandon(now, _CANCELLED)
        self._end(JobState.CANCELLED, now, attempt=self.job.attempt)

    def expire(self, now: datetime.datetime) -> None:
        """End the job, which waits."""
        self._end(JobState.EXPIRED, now, attempt=self.job.attempt)

    def share(self, leader: Job, now: datetime.datetime) -> None:
        """End a follower as its leader ended: with its result, which cost nothing more, or with its error."""
        self.job = replace(self.job, step=leader.step)
        self._end(leader.state, now, attempt=0, error=leader.error, result=shared_result(leader))
        self.shared_from = leader.job_id if leader.result else None

    def follow(self, leader: str) -> None:
        """Wait for another one's result."""
        self.job = replace(self.job, leader=leader)

    def lead(self, former: "JobRow", promoted_for: frozenset[str], now: datetime.datetime) -> None:
        """Let a follower wait for its own turn, in the step that its former leader was in."""
        self.promoted_for = promoted_for
        self.queued_time = now
        if self.job.step < former.job.step:
            self.step_output = former.step_output
        self.job = replace(self.job, leader=None, step=max(self.job.step, former.job.step))

    def note_late(self, record: AttemptRecord) -> None:
        """Keep the cost of an attempt that was given up or cancelled."""
        known = self.ended.get(record.attempt_id.attempt)
        if known is not None and known.outcome in _UNFINISHED:
            kept = record.without_content() if self.job.purged else record
            self.ended.keep(self.job, kept, start_time=None, is_wasted=True)
            if self.job.result is not None:
                self.job = replace(self.job, result=replace(self.job.result, cost_usd=self.ended.cost_usd))

    def purge(self) -> None:
        """Remove what the job says and gave. It is final."""
        self.ended.purge()
        self.step_output = None
        self.job = replace(
            self.job,
            spec=self.job.spec.without_content(),
            error=without_message(self.job.error),
            result=replace(self.job.result, output_json="") if self.job.result else None,
            purged=True,
        )

    def _end(
        self,
        state: JobState,
        now: datetime.datetime,
        *,
        attempt: int,
        error: JobError | None = None,
        result: Result | None = None,
    ) -> None:
        self.job = replace(
            self.job,
            state=state,
            attempt=attempt,
            stage=None,
            stage_start_time=None,
            finish_time=now,
            next_attempt_time=None,
            leader=None,
            error=error,
            result=result,
        )
        self.ended.count_end(self.job, now)
        if state is not JobState.SUCCEEDED and self.passed_by is not None:
            self.ended.count_as_wasted(self.job, self.passed_by, now)

    def _supersede(self, record: AttemptRecord) -> None:
        """Stop the running attempt if this one, which succeeded, is another."""
        if self.job.state is JobState.RUNNING and self.job.attempt != record.attempt_id.attempt:
            self._abandon(record.finish_time, _SUPERSEDED)

    def _abandon(self, now: datetime.datetime, why: JobError) -> None:
        """Keep that the running attempt was stopped."""
        self._record(
            AttemptRecord(
                attempt_id=self.attempt_id,
                outcome=AttemptOutcome.CANCELLED,
                finish_time=now,
                error=why,
                stage_seconds={},
            )
        )

    def _record(self, record: AttemptRecord) -> None:
        self.ended.keep(self.job, record, start_time=self.attempt_time)

    def _result(self, final: FinalRecord) -> Result:
        record = final.record
        return Result(
            output_json=final.output_json,
            model_version=record.model_version,
            usage=record.usage or Usage(),
            cost_usd=self.ended.cost_usd,
            cached=False,
            stage_seconds=entered(record.stage_seconds),
        )


def new_row(
    client_id: str, new: NewJob, seq: int, counts: MemoryUsage, *, leader: str | None, step_output: str | None
) -> JobRow:
    """Return a job that was just submitted; with an output of its first step it begins at the second."""
    job = Job(
        job_id=new.job_id,
        client_id=client_id,
        spec=new.spec,
        traceparent=new.traceparent,
        state=JobState.SCHEDULED if new.due_time else JobState.QUEUED,
        create_time=new.create_time,
        next_attempt_time=new.due_time,
        step=1 if step_output is None else 2,
        leader=leader,
        retried_from=new.retried_from,
    )
    return JobRow(
        job,
        EndedAttempts(counts, {}),
        rank=new.spec.priority,
        seq=seq,
        queued_time=new.create_time,
        rank_time=new.create_time,
        dedup_key=new.dedup_key,
        step_output=step_output,
    )


def shared_result(job: Job) -> Result | None:
    """Return a job's result as others get it that paid nothing for it."""
    if job.result is None:
        return None
    return replace(job.result, usage=Usage(), cost_usd=0.0, cached=True, stage_seconds={})
