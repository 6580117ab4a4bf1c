"""One job as it must be in a store."""

import datetime
from dataclasses import dataclass, field
from typing import Self

from stores import LANE, SECOND_LANE

from scheduler.jobs import AttemptOutcome, Job, JobState, NewJob
from scheduler.records import Slots


@dataclass
class ExpectedJob:
    """Where a job must be.

    Attributes:
        place: Among all jobs, in the order of submission.
        rank_time: Since when it stands at its rank.
        outcomes: Of its attempts that ended.
        promoted_for: The kinds of failure after which it became a leader.
        output: What it gave.
        passed_by: The attempt that brought it to its second step.
        last_of_former_step: Attempts up to this one were of its first step.
    """

    rank: int
    place: int
    rank_time: datetime.datetime
    state: JobState
    due_time: datetime.datetime | None
    expire_time: datetime.datetime | None
    key: bytes | None
    leader: str | None = None
    attempt: int = 0
    retry_count: int = 0
    executor_id: str = ""
    session: int = 0
    outcomes: dict[int, AttemptOutcome] = field(default_factory=dict)
    promoted_for: frozenset[str] = frozenset()
    output: str | None = None
    steps: int = 1
    step: int = 1
    passed_by: int | None = None
    last_of_former_step: int = 0

    @classmethod
    def of(cls, job: NewJob, place: int, passed: datetime.timedelta, now: datetime.datetime) -> Self:
        return cls(
            rank=job.spec.priority,
            place=place,
            rank_time=now,
            state=JobState.SCHEDULED if job.due_time else JobState.QUEUED,
            due_time=job.due_time + passed if job.due_time else None,
            expire_time=job.spec.expire_time + passed if job.spec.expire_time else None,
            key=job.dedup_key,
            steps=len(job.spec.lanes),
        )

    @property
    def lane(self) -> str:
        return (LANE, SECOND_LANE)[self.step - 1]

    @property
    def accepted(self) -> set[int | None]:
        """The attempts whose cost was not in vain so far."""
        if self.state is JobState.SUCCEEDED:
            return {self.attempt, self.passed_by}
        return set() if self.state.is_final else {self.passed_by}

    @property
    def order(self) -> tuple[int, int]:
        return self.rank, self.place

    @property
    def waits(self) -> bool:
        return self.state in (JobState.QUEUED, JobState.SCHEDULED)

    def has_expired(self, now: datetime.datetime) -> bool:
        return self.waits and self.expire_time is not None and self.expire_time <= now

    def is_claimable(self, now: datetime.datetime) -> bool:
        return self.state is JobState.QUEUED and self.leader is None and not self.has_expired(now)

    def is_held_by(self, executor_id: str) -> bool:
        """Whether an executor that holds the latest attempt keeps it."""
        is_of_step = self.attempt > self.last_of_former_step
        was_lost = self.outcomes.get(self.attempt) is AttemptOutcome.LOST and is_of_step
        mine = self.executor_id == executor_id
        return mine and (self.state is JobState.RUNNING or (self.state is JobState.QUEUED and was_lost))

    def start(self, slot: Slots) -> None:
        self.state = JobState.RUNNING
        self.attempt += 1
        self.executor_id, self.session = slot.executor_id, slot.session

    def keep(self, session: int) -> None:
        """Run on in another session, also after the attempt was lost."""
        self.state, self.session = JobState.RUNNING, session
        self.outcomes.pop(self.attempt, None)

    def wait(self, due_time: datetime.datetime | None, outcome: AttemptOutcome, *, charged: bool = False) -> None:
        self.state = JobState.SCHEDULED if due_time else JobState.QUEUED
        self.due_time = due_time
        self.outcomes[self.attempt] = outcome
        self.retry_count += charged

    def advance(self, attempt: int) -> None:
        """Go on to the second step."""
        self.outcomes[attempt] = AttemptOutcome.SUCCEEDED
        self.passed_by, self.last_of_former_step = attempt, self.attempt
        self.state, self.due_time, self.retry_count, self.step = JobState.QUEUED, None, 0, 2

    def raise_to(self, rank: int, now: datetime.datetime) -> None:
        if rank < self.rank:
            self.rank, self.rank_time = rank, now

    def end(self, state: JobState, attempt: int, output: str | None = None) -> None:
        self.state, self.attempt, self.output = state, attempt, output
        self.due_time = self.leader = None

    def check(self, job: Job, passed: datetime.timedelta) -> None:
        """Hold that a job is what it must be."""
        assert (job.state, job.attempt, job.retry_count) == (self.state, self.attempt, self.retry_count)
        assert (job.step, job.lane) == (self.step, self.lane)
        assert (job.executor_id, job.leader) == (self.executor_id, self.leader)
        assert job.next_attempt_time == (self.due_time - passed if self.due_time else None)
        assert {attempt.attempt: attempt.outcome for attempt in job.attempts} == self.outcomes
        assert (job.result.output_json if job.result else None) == self.output
