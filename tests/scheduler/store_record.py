"""What must be in a store, kept by whoever does things to it: where each job is, and who dialled."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from scheduler.jobs import JobState
from scheduler.ports import AttemptId, ClaimedJob, Slots


@dataclass
class ExpectedJob:
    """Where a job must be."""

    rank: int
    place: int
    state: JobState = JobState.QUEUED
    attempt: int = 0
    retry_count: int = 0
    due_time: datetime.datetime | None = None
    executor_id: str = ""
    session: int = 0

    @property
    def order(self) -> tuple[int, int]:
        return self.rank, self.place

    def start(self, slot: Slots) -> None:
        self.state = JobState.RUNNING
        self.attempt += 1
        self.executor_id, self.session = slot.executor_id, slot.session

    def wait(self, due_time: datetime.datetime | None, *, charged: bool = False) -> None:
        self.state = JobState.SCHEDULED if due_time else JobState.QUEUED
        self.due_time = due_time
        self.retry_count += charged

    def end(self, state: JobState, attempt: int) -> None:
        self.state, self.attempt, self.due_time = state, attempt, None


@dataclass
class ExpectedExecutor:
    """An executor that dialled; its sessions up to `lost_session` are lost."""

    session: int
    last_seen: datetime.datetime
    lost_session: int = 0

    @property
    def lives(self) -> bool:
        return self.session > self.lost_session


@dataclass
class Record:
    """Everything that must be true of a store."""

    jobs: dict[str, ExpectedJob] = field(default_factory=dict)
    executors: dict[str, ExpectedExecutor] = field(default_factory=dict)
    attempts: set[AttemptId] = field(default_factory=set)

    def accept(self, job_id: str, rank: int) -> None:
        self.jobs[job_id] = ExpectedJob(rank, len(self.jobs))

    def in_state(self, state: JobState) -> list[str]:
        """Return the jobs in a state, the best (rank, place) first."""
        found = [job_id for job_id, job in self.jobs.items() if job.state is state]
        return sorted(found, key=lambda job_id: self.jobs[job_id].order)

    def runs(self, attempt: AttemptId) -> bool:
        job = self.jobs[attempt.job_id]
        return job.state is JobState.RUNNING and job.attempt == attempt.attempt

    def running(self) -> list[AttemptId]:
        """Return the running attempts, the best job's first."""
        return [AttemptId(job_id, self.jobs[job_id].attempt) for job_id in self.in_state(JobState.RUNNING)]

    def running_on(self, executor_id: str) -> list[AttemptId]:
        return [attempt for attempt in self.running() if self.jobs[attempt.job_id].executor_id == executor_id]

    def lose(self, silent_since: datetime.datetime) -> set[AttemptId]:
        """Lose the executors that are silent since then; return the running attempts of all sessions that are over."""
        for executor in self.executors.values():
            if executor.last_seen <= silent_since:
                executor.lost_session = executor.session
        return {
            attempt
            for executor_id, executor in self.executors.items()
            for attempt in self.running_on(executor_id)
            if self.jobs[attempt.job_id].session <= max(executor.lost_session, executor.session - 1)
        }

    def start(self, claimed: Sequence[ClaimedJob], slots: Sequence[Slots], max_rank: int) -> None:
        """Start jobs, and hold that they are the right ones: the best ones, each for the slot whose turn it was."""
        waiting = [job_id for job_id in self.in_state(JobState.QUEUED) if self.jobs[job_id].rank <= max_rank]
        turns = [slot for turn in range(len(waiting)) for slot in slots if slot.count > turn]
        assert len(claimed) == min(len(waiting), len(turns))
        for job, job_id, slot in zip(claimed, waiting, turns, strict=False):
            self.jobs[job_id].start(slot)
            assert job.attempt_id == AttemptId(job_id, self.jobs[job_id].attempt)
            assert (job.executor_id, job.session) == (slot.executor_id, slot.session)
            assert job.attempt_id not in self.attempts
            self.attempts.add(job.attempt_id)
