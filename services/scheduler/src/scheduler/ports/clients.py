"""What clients' calls need: to take jobs in, read them, sum up what was used, and forget users."""

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from scheduler.jobs import ImageRef, Job, NewImage, NewJob
from scheduler.records import Accepted, JobQuery, Purged, UsageQuery, UsageRow


class SubmissionStore(Protocol):
    """Takes jobs and images in."""

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        """Return those of the client's images that exist."""
        ...

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        """Store images; ones that exist live longer."""
        ...

    async def insert_jobs(
        self, client_id: str, jobs: Sequence[NewJob], *, max_queued: int | None = None
    ) -> Sequence[Accepted]:
        """Store all jobs, in order, or none. Needs new job ids.

        With `max_queued` the client never has more jobs than that in the queue that were submitted under such a limit.

        A job whose request_id is known from the last 24 h, or stands earlier in the same call, is not stored again:
        the first job stands in its place. A job with a dedup_key and CachePolicy.USE takes a recent result of the same
        key, or follows the job in flight that leads the key, or leads it itself; REFRESH may only lead. One that is due
        later does neither.

        Raises:
            RequestIdReused: A known request_id has another spec_hash; nothing was stored.
            ImagesMissing: An image that one of the new jobs uses is not stored; nothing was stored.
            QueueFull: The new jobs are more than the limit leaves room for; nothing was stored.
        """
        ...

    async def known_requests(self, client_id: str, request_ids: Collection[str]) -> Collection[str]:
        """Return those request_ids that `insert_jobs` would know."""
        ...

    async def past_first_step(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of the jobs of which it is kept what their first step gave."""
        ...

    async def pace(self, client_id: str, count: int, *, per_second: float) -> datetime.timedelta | None:
        """Take `count` submissions from the client's rate; return None, or the time until it is worth another try.

        The rate holds over all schedulers. A second's worth may come at once; a call that finds some of that left is
        let through whole, and later ones wait until it is worked off.
        """
        ...

    async def raise_leader(self, job_id: str, rank: int) -> None:
        """Let a job stand at least this rank, because a more urgent one follows it."""
        ...


class JobReader(Protocol):
    """Reads jobs of one client."""

    async def get_jobs(self, client_id: str, job_ids: Collection[str], *, attempts: bool) -> Mapping[str, Job]:
        """Return those that exist, with their ended attempts if asked for."""
        ...

    async def list_jobs(
        self, client_id: str, query: JobQuery, *, before: str | None, limit: int, attempts: bool
    ) -> Sequence[Job]:
        """Return the newest jobs, only those with a smaller id than `before`."""
        ...

    async def list_ids(self, client_id: str, query: JobQuery, *, before: str | None, limit: int) -> Sequence[str]:
        """Return the ids of those jobs alone."""
        ...


class UsageStore(Protocol):
    """Knows what was used: every attempt's cost and every job's end is added as it is written."""

    async def usage(self, client_id: str, query: UsageQuery, *, limit: int) -> Sequence[UsageRow]:
        """Sum up what the client used: one row a group, the first ones, sorted by the groups in the order of group_by.

        Without groups it is one row, whether there is something to sum up or not.
        """
        ...


class UserStore(Protocol):
    """Forgets users."""

    async def purge_user(self, client_id: str, user_id: str) -> Purged:
        """Remove what the user's final jobs say and gave, and their images; return what was there to remove.

        What is left of a job is what a bill needs: id, user, state, times, usage, cost; and nothing that is told later
        brings content back. Jobs that are not final must have been cancelled before; of one that is not, nothing is
        removed but its images. A result that jobs of other users share is handed on to one of them, and an image stays
        that an unfinished job of another user of the client needs. After a failure in the middle it may be called
        again, and goes on.
        """
        ...
