"""What identical requests must have to do with each other: who follows whom, and whom a result answers."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from store_jobs import ExpectedJob

from scheduler.jobs import CachePolicy, JobError, JobState, NewJob
from scheduler.records import Accepted


@dataclass
class ExpectedGroup:
    """Who leads the requests of one key, and the result that answers until a time."""

    leader: str | None = None
    output: str | None = None
    until: datetime.datetime | None = None


class ExpectedGroups:
    """All of them. Works on the record's jobs."""

    def __init__(self, jobs: Mapping[str, ExpectedJob], result_lifetime: datetime.timedelta) -> None:
        self._jobs = jobs
        self._result_lifetime = result_lifetime
        self._groups: dict[bytes, ExpectedGroup] = {}

    def leaders(self) -> set[str]:
        return {group.leader for group in self._groups.values() if group.leader}

    def place(self, jobs: Sequence[NewJob], now: datetime.datetime) -> list[Accepted]:
        """Find the places of new jobs, and return what must be said of them; who only leads comes first."""
        accepted: dict[str, Accepted] = {}
        for only_leads in (True, False):
            for job in jobs:
                if (job.spec.cache is CachePolicy.REFRESH) is only_leads:
                    accepted[job.job_id] = self._place(job, now)
        return [accepted[job.job_id] for job in jobs]

    def _place(self, job: NewJob, now: datetime.datetime) -> Accepted:
        if job.dedup_key is None or job.due_time is not None:
            return Accepted(job_id=job.job_id)
        group = self._groups.setdefault(job.dedup_key, ExpectedGroup())
        if job.spec.cache is CachePolicy.USE:
            if group.until is not None and now < group.until:
                self._jobs[job.job_id].step = self._jobs[job.job_id].steps
                self._jobs[job.job_id].end(JobState.SUCCEEDED, 0, group.output)
                return Accepted(job_id=job.job_id, is_cached=True)
            if group.leader is not None:
                self._jobs[job.job_id].leader = group.leader
                return Accepted(job_id=job.job_id, leader=group.leader)
        group.leader = group.leader or job.job_id
        return Accepted(job_id=job.job_id)

    def end(self, job_id: str, error: JobError | None, now: datetime.datetime) -> list[str]:
        """Draw the consequences of a job's end; return the followers that change."""
        job = self._jobs[job_id]
        if job.key is None:
            return []
        group = self._groups.setdefault(job.key, ExpectedGroup())
        if job.state is JobState.SUCCEEDED:
            group.output, group.until = job.output, now + self._result_lifetime
        if group.leader != job_id:
            return []
        followers = [each for each, follower in self._jobs.items() if follower.leader == job_id]
        group.leader = None
        if not followers:
            return []
        kind = error.kind if error else ""
        shared = error is not None and (not error.retryable or kind in job.promoted_for)
        if job.state is JobState.SUCCEEDED or shared:
            for follower in followers:
                self._jobs[follower].step = job.step
                self._jobs[follower].end(job.state, 0, job.output)
            return followers
        self._promote(followers, job.promoted_for | ({kind} if error else set()), now)
        self._jobs[followers[0]].step = job.step
        group.leader = followers[0]
        return followers[:1]

    def _promote(self, followers: Sequence[str], promoted_for: frozenset[str], now: datetime.datetime) -> None:
        oldest, *others = followers
        job = self._jobs[oldest]
        job.leader, job.promoted_for = None, promoted_for
        job.raise_to(min(self._jobs[each].rank for each in followers), now)
        for each in others:
            self._jobs[each].leader = oldest
