"""One job in the store in memory, and all that may happen to it: a claim, a stage, a return, an end.

The fences of ports.OutcomeStore stand here; which job comes next does not.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scheduler.jobs import Attempt, AttemptOutcome, Job, JobError, JobState, NewJob, Result, Stage, Usage
from scheduler.records import AttemptId, AttemptRecord, ClaimedJob, FinalRecord, ReturnRecord, RunningJob, Slots

_UNFINISHED = (AttemptOutcome.LOST, AttemptOutcome.CANCELLED)
_CANCELLED = JobError(kind="CANCELLED", message="The job was cancelled.", retryable=False)
_SUPERSEDED = JobError(kind="CANCELLED", message="An earlier attempt succeeded late.", retryable=False)


@dataclass
class JobRow:
    """A job, and what the queue knows of it.

    Attributes:
        job: As readers see it, but for its attempts.
        rank: Its rank now: its priority, unless it was raised.
        seq: Its place among the jobs of its rank, for life.
        queued_time: When it last began to wait.
        rank_time: Since when it stands at its rank.
        dedup_key: Of identical requests.
        session: That of the executor that runs it.
        attempt_time: When its latest attempt began.
        paid_calls: Calls of ended attempts that may have been billed.
        last_paid: Whether that of the last one was among them.
        preparing_deaths: Executors that died while they prepared it.
        promoted_for: The kinds of failure after which it became a leader.
        shared_from: The job whose result it shares.
        ended: Its attempts that ended, by their number.
    """

    job: Job
    rank: int
    seq: int
    queued_time: datetime.datetime
    rank_time: datetime.datetime
    dedup_key: bytes | None = None
    session: int = 0
    attempt_time: datetime.datetime | None = None
    paid_calls: int = 0
    last_paid: bool = False
    preparing_deaths: int = 0
    promoted_for: frozenset[str] = frozenset()
    shared_from: str | None = None
    ended: dict[int, Attempt] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        return self.rank, self.seq

    @property
    def attempt_id(self) -> AttemptId:
        return AttemptId(self.job.job_id, self.job.attempt)

    @property
    def is_claimable(self) -> bool:
        """Whether it waits for nothing but its turn."""
        return self.job.state is JobState.QUEUED and self.job.leader is None

    @property
    def running(self) -> RunningJob:
        return RunningJob(
            lane=self.job.spec.lane,
            executor_id=self.job.executor_id,
            session=self.session,
            stage=self.job.stage or Stage.STARTING,
            retry_count=self.job.retry_count,
            max_retries=self.job.spec.max_retries,
            paid_calls=self.paid_calls,
            preparing_deaths=self.preparing_deaths,
            expire_time=self.job.spec.expire_time,
        )

    def has_expired(self, now: datetime.datetime) -> bool:
        """Return whether it waits in vain."""
        expire_time = self.job.spec.expire_time
        waits = self.job.state in (JobState.QUEUED, JobState.SCHEDULED)
        return waits and expire_time is not None and expire_time <= now

    def is_overdue(self, margin: datetime.timedelta, now: datetime.datetime) -> bool:
        """Return whether the call of the running attempt takes too long."""
        stage, since = self.job.stage, self.job.stage_start_time
        return (
            stage is not None
            and since is not None
            and stage >= Stage.GEMINI_ANALYZING
            and since < now - margin - self.job.spec.timeout
        )

    def runs(self, attempt: AttemptId, session: int | None = None) -> bool:
        """Return whether the attempt is the running one, in this session if one is named."""
        return self.job.state is JobState.RUNNING and self.attempt_id == attempt and session in (None, self.session)

    def seen(self, *, attempts: bool) -> Job:
        """Return the job as readers see it, with its ended attempts if asked for, the oldest first."""
        ended = tuple(self.ended[number] for number in sorted(self.ended)) if attempts else ()
        return replace(self.job, attempts=ended)

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
            lane=self.job.spec.lane,
            rank=self.rank,
            seq=self.seq,
            step=self.job.step,
            spec=self.job.spec,
            retry_count=self.job.retry_count,
            permit_required=permit_required,
            traceparent=self.job.traceparent,
            queued_time=self.queued_time,
            start_time=now,
        )

    def take_back(self, session: int, executor_id: str) -> bool:
        """Let an attempt run on that was given up, if its job only waits and it was this executor's."""
        known = self.ended.get(self.job.attempt)
        if not (self.is_claimable and known is not None and known.outcome is AttemptOutcome.LOST):
            return False
        if known.executor_id != executor_id:
            return False
        del self.ended[self.job.attempt]
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
        if not (self.runs(record.attempt_id, final.session) or (succeeded and self._was_made(record.attempt_id))):
            return False
        if self.job.state is JobState.RUNNING and self.job.attempt != record.attempt_id.attempt:
            self._abandon(record.finish_time, _SUPERSEDED)
        self._record(record)
        self._end(
            final.state,
            record.finish_time,
            attempt=record.attempt_id.attempt,
            error=(final.error or record.error) if final.state is JobState.FAILED else None,
            result=self._result(final) if succeeded else None,
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
        self._end(leader.state, now, attempt=0, error=leader.error, result=shared_result(leader))
        self.shared_from = leader.job_id if leader.result else None

    def follow(self, leader: str) -> None:
        """Wait for another one's result."""
        self.job = replace(self.job, leader=leader)

    def lead(self, promoted_for: frozenset[str], now: datetime.datetime) -> None:
        """Let a follower wait for its own turn."""
        self.promoted_for = promoted_for
        self.queued_time = now
        self.job = replace(self.job, leader=None)

    def note_late(self, record: AttemptRecord) -> None:
        """Keep the cost of an attempt that was given up or cancelled."""
        known = self.ended.get(record.attempt_id.attempt)
        if known is not None and known.outcome in _UNFINISHED:
            self._record(record.without_content() if self.job.purged else record)
            if self.job.result is not None:
                self.job = replace(self.job, result=replace(self.job.result, cost_usd=self._cost_usd()))

    def purge(self) -> None:
        """Remove what the job says and gave. It is final."""
        self.ended = {
            number: replace(attempt, error=_without_message(attempt.error)) for number, attempt in self.ended.items()
        }
        self.job = replace(
            self.job,
            spec=self.job.spec.without_content(),
            error=_without_message(self.job.error),
            result=replace(self.job.result, output_json="") if self.job.result else None,
            purged=True,
        )

    def _was_made(self, attempt: AttemptId) -> bool:
        """Return whether the attempt is one of this job's, which is not final."""
        return not self.job.state.is_final and 1 <= attempt.attempt <= self.job.attempt

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
            cost_usd=self._cost_usd(),
            cached=False,
            stage_seconds=_entered(record.stage_seconds),
        )

    def _cost_usd(self) -> float:
        return sum(attempt.cost_usd for attempt in self.ended.values())


def new_row(client_id: str, new: NewJob, seq: int, *, leader: str | None) -> JobRow:
    """Return a job that was just submitted."""
    job = Job(
        job_id=new.job_id,
        client_id=client_id,
        spec=new.spec,
        traceparent=new.traceparent,
        state=JobState.SCHEDULED if new.due_time else JobState.QUEUED,
        create_time=new.create_time,
        next_attempt_time=new.due_time,
        leader=leader,
        retried_from=new.retried_from,
    )
    return JobRow(
        job,
        rank=new.spec.priority,
        seq=seq,
        queued_time=new.create_time,
        rank_time=new.create_time,
        dedup_key=new.dedup_key,
    )


def shared_result(job: Job) -> Result | None:
    """Return a job's result as others get it that paid nothing for it."""
    if job.result is None:
        return None
    return replace(job.result, usage=Usage(), cost_usd=0.0, cached=True, stage_seconds={})


def _without_message(error: JobError | None) -> JobError | None:
    return replace(error, message="") if error else None


def _entered(stage_seconds: Mapping[Stage, float]) -> Mapping[Stage, float]:
    return {stage: seconds for stage, seconds in stage_seconds.items() if seconds}
