"""One job in the store in memory as it stands there: what the queue knows of it, and the fences of its ends."""

import datetime
from dataclasses import dataclass, replace

from scheduler.jobs import Job, JobState, Stage
from scheduler.memory_attempts import EndedAttempts
from scheduler.records import AttemptId, RunningJob


@dataclass
class QueuedJob:
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
        paid_calls: Calls of ended attempts of the step that may have been billed.
        last_paid: Whether that of the last one was among them.
        preparing_deaths: Executors that died while they prepared it.
        promoted_for: The kinds of failure after which it became a leader.
        shared_from: The job whose result it shares.
        flaws: Of the answers in its present step, oldest first.
        step_output: What its first step gave.
        passed_by: Its own attempt that gave that.
        ended: Its attempts that ended.
    """

    job: Job
    ended: EndedAttempts
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
    flaws: tuple[str, ...] = ()
    step_output: str | None = None
    passed_by: int | None = None

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
            lane=self.job.lane,
            executor_id=self.job.executor_id,
            session=self.session,
            stage=self.job.stage or Stage.STARTING,
            retry_count=self.job.retry_count,
            max_retries=self.job.spec.max_retries,
            paid_calls=self.paid_calls,
            preparing_deaths=self.preparing_deaths,
            expire_time=self.job.spec.expire_time,
            step=self.job.step,
            flaws=self.flaws,
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
        ended = tuple(attempt for _, attempt in sorted(self.ended.by_number.items())) if attempts else ()
        return replace(self.job, attempts=ended, cost_usd=self.ended.cost_usd)

    @property
    def is_in_last_step(self) -> bool:
        return self.job.step == len(self.job.spec.lanes)

    def is_in_step(self, attempt: AttemptId, step: int) -> bool:
        """Return whether the attempt is one of this job's, which is not final and still in that step."""
        was_made = 1 <= attempt.attempt <= self.job.attempt
        return was_made and self.job.step == step and not self.job.state.is_final
