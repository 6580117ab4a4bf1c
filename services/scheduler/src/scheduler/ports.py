"""What the use cases need from the store, one protocol a reader.

Every method is atomic. All raise StoreUnavailable when the store cannot be reached in time; a method that raised it
may have taken effect, and may be repeated.
"""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from scheduler.callers import ApiKey, StoredKey
from scheduler.jobs import ImageRef, Job, NewImage, NewJob, Stage
from scheduler.lanes import Lane
from scheduler.records import (
    Accepted,
    AttemptId,
    AttemptRecord,
    AuditEntry,
    Change,
    ClaimedJob,
    Ended,
    ExecutorInfo,
    FinalRecord,
    Heads,
    JobQuery,
    LaneLoad,
    Purged,
    Registration,
    ReturnRecord,
    RunningAttempt,
    RunningJob,
    Slots,
)

T = TypeVar("T")


class StoreClock(Protocol):
    """The database's time, the authority for everything stored; known within milliseconds, without a round trip."""

    def now(self) -> datetime.datetime: ...


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

    async def pace(self, client_id: str, count: int, *, per_second: float) -> datetime.timedelta | None:
        """Take `count` submissions from the client's rate; return None, or the time until it is worth another try.

        The rate holds over all schedulers. A second's worth may come at once; a call that finds some of that left is
        let through whole, and later ones wait until it is worked off.
        """
        ...

    async def raise_leader(self, job_id: str, rank: int) -> None:
        """Let a job stand at least this rank, because a more urgent one follows it."""
        ...


class ClaimStore(Protocol):
    """Hands waiting jobs out."""

    async def lane_heads(self, *, thorough: bool) -> Heads:
        """Return the heads of the lanes.

        `thorough` looks everywhere; without it, rows that came back against all odds may be overlooked.
        """
        ...

    async def shares(self, lanes: Collection[str], count: int) -> Mapping[str, int]:
        """Say of the best `count` jobs that wait for their turn in any of these lanes how many stand in each."""
        ...

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        """Start the best waiting jobs of the lane, up to the slots, none of a rank worse than max_rank.

        In order of (rank, seq), dealt round robin over the executors; jobs that may have killed an executor never
        share one. No more than the lane takes now: none while it is paused, stopped or closed, a single probe where its
        breaker asks for one, up to its limit in flight, and what its pace will admit soon. Raises each job's attempt
        number.
        """
        ...

    async def promote_due(self) -> datetime.datetime | None:
        """Make SCHEDULED jobs that are due QUEUED, at their old place; return the next due time."""
        ...

    async def expire_due(self) -> tuple[Collection[str], datetime.datetime | None]:
        """End waiting jobs whose expire_time has come as EXPIRED.

        Returns:
            The jobs that are in another state now, their followers included, and the next time.
        """
        ...

    async def raise_old(self, age: datetime.timedelta) -> int:
        """Let QUEUED jobs that stood this long at their rank rise by one; return how many did."""
        ...

    async def count_waiting(self, limit: int) -> int:
        """Count QUEUED jobs, but no further than `limit`."""
        ...

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        """Return the bytes of those of the client's images that exist."""
        ...


class OutcomeStore(Protocol):
    """Writes what became of attempts. Every write is fenced by the attempt id."""

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        """Return what is known of those attempts that are still their job's running ones."""
        ...

    async def finish(self, finals: Sequence[FinalRecord]) -> Ended:
        """End jobs, each named once.

        Anything but a success needs its attempt to be the running one. A success is also taken from an attempt that was
        given up, or superseded by a newer one, as long as its job is not final: it is paid for. It resets the failures
        that its lane counted in a row.

        The followers of a job share its success, and a failure that is not retryable. Otherwise the oldest of them
        leads from now on; a second time for the same kind of failure all fail alike.
        """
        ...

    async def cancel(self, client_id: str, job_ids: Collection[str]) -> Ended:
        """End those of the client's jobs that are not final as CANCELLED; `attempts` stays empty."""
        ...

    async def note_late(self, records: Sequence[AttemptRecord]) -> None:
        """Keep what attempts cost whose jobs needed them no longer.

        Fills the rows of those given up or cancelled.
        """
        ...

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        """Let jobs, each named once, wait again; return the attempts that were the running ones, and so did."""
        ...

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        """Store the latest stage of attempts that still run."""
        ...


class ExecutorStore(Protocol):
    """Knows which executors live, and what runs on those that do not."""

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        """Begin a new session, and move the held attempts that still run there into it.

        Raises:
            StaleHello: A later dial of the executor has a session already.
            ExecutorNotYours: The executor's id belongs to another client, and its session is not lost.
        """
        ...

    async def touch(self, executor_id: str, session: int) -> bool:
        """Note a sign of life; False if the session is not the executor's current one or was declared lost."""
        ...

    async def declare_lost(self, silent_for: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        """Declare the sessions lost that gave no sign of life for this long.

        Returns the running attempts of every session that is over, lost now or earlier, or followed by another one that
        did not take them along, for the caller to give back under the session they run in.
        """
        ...

    async def overdue(self, margin: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        """Return the attempts whose call has taken longer than their job's timeout and this margin."""
        ...

    async def running_on(self, executor_id: str, session: int) -> Mapping[AttemptId, RunningJob]:
        """Return the attempts that run in this session."""
        ...

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        """Return the lanes, or provider/* patterns, that executors seen within this time serve."""
        ...

    async def runs_with_image(self, job_id: str, sha256: str, *, executor_client: str) -> str | None:
        """Return the client of the job if it uses the image and is RUNNING on an executor of `executor_client`."""
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


class LaneStore(Protocol):
    """Keeps the lanes, and whether submissions are taken."""

    async def add_lanes(self, names: Collection[str]) -> None:
        """Make sure that these lanes exist."""
        ...

    async def lanes(self) -> Sequence[Lane]:
        """Return all lanes, by name."""
        ...

    async def lane_loads(self) -> Mapping[str, LaneLoad]:
        """Count the jobs of every lane that has some. Reads the whole queue: for people, not for loops."""
        ...

    async def in_flight(self, lanes: Collection[str]) -> Mapping[str, int]:
        """Count the attempts that run in each of these lanes; one where none does may be missing."""
        ...

    async def change_lane(self, name: str, decide: Callable[[Lane], tuple[Lane, T]]) -> tuple[Lane, T] | None:
        """Change a lane atomically; return what `decide` returned, or None if there is no such lane.

        `decide` is pure, and is called again if the lane changed meanwhile.
        """
        ...

    async def is_accepting(self) -> bool:
        """Say whether submissions are taken."""
        ...

    async def set_accepting(self, *, accepting: bool) -> None:
        """Take submissions, or refuse them."""
        ...


class KeyStore(Protocol):
    """Keeps the keys, and who changed what."""

    async def keys(self) -> Sequence[StoredKey]:
        """Return all keys, revoked ones included, newest first."""
        ...

    async def add_key(self, key: StoredKey) -> None:
        """Store a new key."""
        ...

    async def add_first_key(self, key: StoredKey) -> bool:
        """Store a new key unless one of its role works already; say whether it was stored."""
        ...

    async def rotate_key(self, key_id: str, secret_hash: bytes, overlap: datetime.timedelta) -> ApiKey | None:
        """Give a key that works a new secret; the present one works this much longer. None if there is no such key."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        """End a key; None if there is none of that id.

        Raises:
            LastAdminKey: No other admin key would work; nothing was changed.
        """
        ...

    async def note_used(self, used: Mapping[str, datetime.datetime]) -> None:
        """Note when keys, by id, were last used."""
        ...

    async def signing_secret(self, name: str) -> bytes:
        """Return the secret of that name, the same on every scheduler; the first call makes it."""
        ...

    async def begin_audit(self, change: Change) -> int:
        """Note a change that is about to be made; return the id of the entry."""
        ...

    async def end_audit(self, audit_id: int, outcome: str) -> None:
        """Note how it ended."""
        ...

    async def audit_entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, only those with a smaller id than `before`."""
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


class CommandStore(Protocol):
    """Carries words from one scheduler to all."""

    async def post_stops(self, attempts: Sequence[RunningAttempt]) -> None:
        """Ask whoever is connected to these executors to stop the attempts."""
        ...

    async def take_stops(self) -> Sequence[RunningAttempt]:
        """Return what was posted since the last call of this process; what is older than 10 s may be missed."""
        ...

    async def post_purged(self, client_id: str, user_id: str) -> None:
        """Ask all schedulers to forget what they remember of a user's content."""
        ...

    async def take_purged(self) -> Collection[tuple[str, str]]:
        """Return clients and users that were posted, as `take_stops`."""
        ...


class Store(
    SubmissionStore,
    ClaimStore,
    OutcomeStore,
    ExecutorStore,
    JobReader,
    LaneStore,
    KeyStore,
    UserStore,
    CommandStore,
    Protocol,
):
    """All of it: what an implementation provides."""

    @property
    def time(self) -> StoreClock: ...

    async def maintain(self) -> None:
        """Do what wants doing now and then; worth a call each minute."""
        ...
