"""What must be in a store, kept by whoever does things to it: where each job is, and who dialled."""

import datetime
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from store_groups import ExpectedGroups
from store_jobs import ExpectedJob
from stores import LANE

from scheduler.jobs import AttemptOutcome, JobError, JobState, NewJob
from scheduler.records import Accepted, AttemptId, ClaimedJob, RunningAttempt, Slots


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
    """Everything that must be true of a store: also of which step each attempt is.

    Times are those of the machine that keeps it.
    """

    result_lifetime: datetime.timedelta
    jobs: dict[str, ExpectedJob] = field(default_factory=dict)
    executors: dict[str, ExpectedExecutor] = field(default_factory=dict)
    attempts: dict[AttemptId, int] = field(default_factory=dict)
    max_in_flight: int | None = None

    def __post_init__(self) -> None:
        self.groups = ExpectedGroups(self.jobs, self.result_lifetime)

    def accept(self, jobs: Sequence[NewJob], passed: datetime.timedelta, now: datetime.datetime) -> list[Accepted]:
        """Take jobs in, and return what must be said of them."""
        for job in jobs:
            self.jobs[job.job_id] = ExpectedJob.of(job, len(self.jobs), passed, now)
        return self.groups.place(jobs, now)

    def in_state(self, *states: JobState) -> list[str]:
        """Return the jobs in a state, the best (rank, place) first."""
        found = [job_id for job_id, job in self.jobs.items() if job.state in states]
        return sorted(found, key=lambda job_id: self.jobs[job_id].order)

    def claimable(self, now: datetime.datetime) -> list[str]:
        return [job_id for job_id in self.in_state(JobState.QUEUED) if self.jobs[job_id].is_claimable(now)]

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

    def dial(self, executor_id: str, held: Collection[AttemptId], now: datetime.datetime) -> tuple[int, set[AttemptId]]:
        """Begin a session; return it, and what of the held attempts the executor keeps."""
        known = self.executors.setdefault(executor_id, ExpectedExecutor(0, now))
        known.session, known.last_seen = known.session + 1, now
        kept = {
            attempt
            for attempt in held
            if self.jobs[attempt.job_id].attempt == attempt.attempt
            and self.jobs[attempt.job_id].is_held_by(executor_id)
        }
        for attempt in kept:
            self.jobs[attempt.job_id].keep(known.session)
        return known.session, kept

    def is_full(self, lane: str) -> bool:
        return lane == LANE and self._room() == 0

    def _room(self) -> int | None:
        """Return how many jobs more may run in the lane that has a limit."""
        if self.max_in_flight is None:
            return None
        running = [attempt for attempt in self.running() if self.jobs[attempt.job_id].lane == LANE]
        return max(0, self.max_in_flight - len(running))

    def start(
        self, claimed: Sequence[ClaimedJob], lane: str, slots: Sequence[Slots], max_rank: int, now: datetime.datetime
    ) -> None:
        """Start jobs, and hold that they are the right ones: the best ones, each for the slot whose turn it was."""
        waiting = [
            job_id
            for job_id in self.claimable(now)
            if self.jobs[job_id].lane == lane and self.jobs[job_id].rank <= max_rank
        ]
        turns = [slot for turn in range(len(waiting)) for slot in slots if slot.count > turn]
        if lane == LANE:
            turns = turns[: self._room()]
        assert len(claimed) == min(len(waiting), len(turns))
        for job, job_id, slot in zip(claimed, waiting, turns, strict=False):
            self.jobs[job_id].start(slot)
            assert job.attempt_id == AttemptId(job_id, self.jobs[job_id].attempt)
            assert (job.executor_id, job.session) == (slot.executor_id, slot.session)
            assert job.rank == self.jobs[job_id].rank
            assert job.attempt_id not in self.attempts
            assert (job.lane, job.step) == (lane, self.jobs[job_id].step)
            self.attempts[job.attempt_id] = job.step

    def finish(
        self, attempt: AttemptId, state: JobState, error: JobError | None, output: str | None, now: datetime.datetime
    ) -> tuple[list[str], list[RunningAttempt]]:
        """End a job by an attempt that may; return the jobs that change, and the attempt that has to stop."""
        job = self.jobs[attempt.job_id]
        to_stop = self._supersede(attempt)
        job.outcomes[attempt.attempt] = (
            AttemptOutcome.SUCCEEDED if state is JobState.SUCCEEDED else AttemptOutcome.FAILED
        )
        job.end(state, attempt.attempt, output)
        return [attempt.job_id, *self.groups.end(attempt.job_id, error, now)], to_stop

    def advance(self, attempt: AttemptId) -> list[RunningAttempt]:
        """Bring a job to its second step by an attempt that may; return the attempt that has to stop."""
        to_stop = self._supersede(attempt)
        self.jobs[attempt.job_id].advance(attempt.attempt)
        return to_stop

    def _supersede(self, attempt: AttemptId) -> list[RunningAttempt]:
        job = self.jobs[attempt.job_id]
        if job.state is JobState.RUNNING and job.attempt != attempt.attempt:
            return self.stop([attempt.job_id])
        return []

    def end(self, job_ids: Iterable[str], state: JobState, now: datetime.datetime) -> list[str]:
        """End jobs that have no verdict; return the jobs that change."""
        changed = list(job_ids)
        for job_id in changed:
            self.jobs[job_id].end(state, self.jobs[job_id].attempt)
        return changed + [follower for job_id in changed for follower in self.groups.end(job_id, None, now)]

    def stop(self, job_ids: Iterable[str]) -> list[RunningAttempt]:
        """Return the attempts of these jobs that have to stop, and note that they were cancelled."""
        running = [(job_id, self.jobs[job_id]) for job_id in job_ids if self.jobs[job_id].state is JobState.RUNNING]
        for _, job in running:
            job.outcomes[job.attempt] = AttemptOutcome.CANCELLED
        return [RunningAttempt(AttemptId(job_id, job.attempt), job.executor_id, job.session) for job_id, job in running]
