"""Identical requests in the store in memory: who leads, who follows, and what a recent result spares.

What ports.SubmissionStore.insert_jobs and ports.OutcomeStore.finish promise about them, and no more.
"""

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scheduler.jobs import CachePolicy, JobState, NewJob
from scheduler.memory_row import JobRow

_NO_FAILURE = frozenset({JobState.CANCELLED, JobState.EXPIRED})


@dataclass
class _Key:
    """Who leads the requests of one key, and which job last succeeded."""

    leader: str | None = None
    result: str | None = None
    expire_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new job stands among its likes: behind a leader, answered by a result, or on its own."""

    leader: str | None = None
    result: str | None = None


class Dedup:
    """All keys. Works on the store's rows."""

    def __init__(self, rows: Mapping[str, JobRow], *, result_lifetime: datetime.timedelta) -> None:
        self._rows = rows
        self._result_lifetime = result_lifetime
        self._keys: dict[bytes, _Key] = {}

    def places(self, jobs: Sequence[NewJob], now: datetime.datetime) -> Mapping[str, Place]:
        """Return where new jobs stand. Those that only lead come first, so that the others may follow them."""
        in_turn = sorted(jobs, key=lambda job: job.spec.cache is CachePolicy.USE)
        return {job.job_id: self._place(job, now) for job in in_turn}

    def take_back(self, job_ids: Collection[str]) -> None:
        """These were not stored after all: none of them leads."""
        for key in self._keys.values():
            if key.leader in job_ids:
                key.leader = None

    def _place(self, job: NewJob, now: datetime.datetime) -> Place:
        """Return where a new job stands; it leads its key if nobody does."""
        if job.dedup_key is None or job.due_time is not None:
            return Place()
        key = self._keys.setdefault(job.dedup_key, _Key())
        if job.spec.cache is CachePolicy.USE:
            if key.result is not None and key.expire_time is not None and key.expire_time > now:
                return Place(result=key.result)
            if key.leader is not None:
                return Place(leader=key.leader)
        if key.leader is None:
            key.leader = job.job_id
        return Place()

    def hand_on(self, row: JobRow, heir: JobRow | None) -> None:
        """Let another job's result answer in the place of one that is removed, or none."""
        for key in self._keys.values():
            if key.result == row.job.job_id:
                key.result = heir.job.job_id if heir else None

    def end_all(self, ended: Collection[JobRow], now: datetime.datetime) -> list[str]:
        """Draw the consequences of the ends of jobs; return the followers that are in another state now."""
        return [job_id for row in ended for job_id in self._end(row, now)]

    def _end(self, row: JobRow, now: datetime.datetime) -> Iterator[str]:
        """Draw the consequences of a job's end; yield the followers that are in another state now."""
        if row.dedup_key is None:
            return
        key = self._keys.setdefault(row.dedup_key, _Key())
        if row.job.state is JobState.SUCCEEDED:
            key.result, key.expire_time = row.job.job_id, now + self._result_lifetime
        if key.leader != row.job.job_id:
            return
        key.leader = None
        followers = sorted(
            (each for each in self._rows.values() if each.job.leader == row.job.job_id), key=lambda each: each.seq
        )
        if not followers:
            return
        promoted_for = _promoted_for(row)
        if promoted_for is None:
            for follower in followers:
                follower.share(row.job, now)
                yield follower.job.job_id
            return
        self._promote(row, followers, key, promoted_for, now)
        yield followers[0].job.job_id

    def _promote(
        self, former: JobRow, followers: list[JobRow], key: _Key, promoted_for: frozenset[str], now: datetime.datetime
    ) -> None:
        oldest = followers[0]
        oldest.lead(former, promoted_for, now)
        best = min(followers, key=lambda each: each.order)
        oldest.raise_to(best.rank, now)
        key.leader = oldest.job.job_id
        for follower in followers[1:]:
            follower.follow(oldest.job.job_id)


def _promoted_for(row: JobRow) -> frozenset[str] | None:
    """Return the kinds of failure that the next leader stands for, or None if all followers end as this one did."""
    if row.job.state in _NO_FAILURE:
        return row.promoted_for
    error = row.job.error
    if error is None or not error.retryable or error.kind in row.promoted_for:
        return None
    return row.promoted_for | {error.kind}
