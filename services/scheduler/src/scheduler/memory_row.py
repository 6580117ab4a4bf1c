"""One job in the store in memory, and all that may happen to it: a claim, a stage, a return, an end.

The fences of ports.OutcomeStore stand here; which job comes next does not.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scheduler.jobs import Attempt, Job, JobState, NewJob, Result, Stage, Usage
from scheduler.ports import AttemptId, AttemptRecord, ClaimedJob, FinalRecord, ReturnRecord, RunningJob, Slots


@dataclass
class JobRow:
    """A job, and what the queue knows of it.

    Attributes:
        job: As readers see it, but for its attempts.
        seq: Its place among the jobs of its rank, for life.
        queued_time: When it last began to wait.
        session: That of the executor that runs it.
        attempt_time: When its latest attempt began.
        ended: Its attempts that ended, by their number.
    """

    job: Job
    seq: int
    queued_time: datetime.datetime
    session: int = 0
    attempt_time: datetime.datetime | None = None
    ended: dict[int, Attempt] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        return self.job.spec.priority, self.seq

    @property
    def attempt_id(self) -> AttemptId:
        return AttemptId(self.job.job_id, self.job.attempt)

    @property
    def running(self) -> RunningJob:
        return RunningJob(self.job.spec.lane, self.job.retry_count, self.job.spec.max_retries)

    def runs(self, attempt: AttemptId) -> bool:
        """Return whether the attempt is the running one."""
        return self.job.state is JobState.RUNNING and self.attempt_id == attempt

    def seen(self, *, attempts: bool) -> Job:
        """Return the job as readers see it, with its ended attempts if asked for, the oldest first."""
        ended = tuple(self.ended[number] for number in sorted(self.ended)) if attempts else ()
        return replace(self.job, attempts=ended)

    def start(self, slot: Slots, now: datetime.datetime) -> ClaimedJob:
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
            lane=self.job.spec.lane,
            step=self.job.step,
            spec=self.job.spec,
            retry_count=self.job.retry_count,
            traceparent=self.job.traceparent,
            queued_time=self.queued_time,
            start_time=now,
        )

    def note_stage(self, stage: Stage, time: datetime.datetime) -> None:
        self.job = replace(self.job, stage=stage, stage_start_time=time)

    def give_back(self, back: ReturnRecord, now: datetime.datetime) -> bool:
        """Let the job wait again; return whether the attempt was the running one."""
        if not self.runs(back.record.attempt_id):
            return False
        self._record(back.record)
        self.queued_time = now
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
        if not (self.runs(record.attempt_id) or (succeeded and self._was_made(record.attempt_id))):
            return False
        self._record(record)
        self.job = replace(
            self.job,
            state=final.state,
            attempt=record.attempt_id.attempt,
            stage=None,
            stage_start_time=None,
            finish_time=record.finish_time,
            next_attempt_time=None,
            error=None if succeeded else record.error,
            result=self._result(final) if succeeded else None,
        )
        return True

    def _was_made(self, attempt: AttemptId) -> bool:
        """Return whether the attempt is one of this job's, which is not final."""
        return not self.job.state.is_final and 1 <= attempt.attempt <= self.job.attempt

    def _record(self, record: AttemptRecord) -> None:
        """Keep what became of an attempt, in the place of what was kept before: of it being given up."""
        number = record.attempt_id.attempt
        known = self.ended.get(number)
        self.ended[number] = Attempt(
            attempt=number,
            step=self.job.step,
            executor_id=known.executor_id if known else self.job.executor_id,
            start_time=known.start_time if known else self.attempt_time or record.finish_time,
            finish_time=record.finish_time,
            outcome=record.outcome,
            error=record.error,
            usage=record.usage,
            cost_usd=record.cost_usd,
            model_version=record.model_version,
            stage_seconds=_entered(record.stage_seconds),
        )

    def _result(self, final: FinalRecord) -> Result:
        record = final.record
        return Result(
            output_json=final.output_json,
            model_version=record.model_version,
            usage=record.usage or Usage(),
            cost_usd=sum(attempt.cost_usd for attempt in self.ended.values()),
            cached=False,
            stage_seconds=_entered(record.stage_seconds),
        )


def new_row(client_id: str, new: NewJob, seq: int) -> JobRow:
    """Return a job that was just submitted."""
    job = Job(
        job_id=new.job_id,
        client_id=client_id,
        spec=new.spec,
        traceparent=new.traceparent,
        state=JobState.QUEUED,
        create_time=new.create_time,
    )
    return JobRow(job, seq, new.create_time)


def _entered(stage_seconds: Mapping[Stage, float]) -> Mapping[Stage, float]:
    return {stage: seconds for stage, seconds in stage_seconds.items() if seconds}
