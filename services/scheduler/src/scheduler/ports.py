"""What the use cases need from the store, one protocol a reader.

Every method is atomic. All raise StoreUnavailable when the store cannot be reached in time; a method that raised it
may have taken effect, and may be repeated.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.jobs import (
    AttemptOutcome,
    ImageRef,
    Job,
    JobError,
    JobSpec,
    JobState,
    NewImage,
    NewJob,
    Stage,
    Usage,
)


@dataclass(frozen=True, slots=True)
class AttemptId:
    """Names one attempt: the fence of every write about it."""

    job_id: str
    attempt: int


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

    async def insert_jobs(self, client_id: str, jobs: Sequence[NewJob]) -> Sequence[str]:
        """Store all jobs as QUEUED, in order, or none; return their ids in the same order. Needs new job ids.

        A job whose request_id is known from the last 24 h, or stands earlier in the same call, is not stored again:
        the first job's id stands in its place.

        Raises:
            RequestIdReused: A known request_id has another spec_hash; nothing was stored.
        """
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """The best waiting job of a lane."""

    lane: str
    rank: int
    seq: int


@dataclass(frozen=True, slots=True)
class Slots:
    """Free slots of one executor's session."""

    executor_id: str
    session: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job that is RUNNING now, for one executor."""

    attempt_id: AttemptId
    executor_id: str
    session: int
    client_id: str
    lane: str
    step: int
    spec: JobSpec
    retry_count: int
    traceparent: str
    queued_time: datetime.datetime
    start_time: datetime.datetime


class ClaimStore(Protocol):
    """Hands waiting jobs out."""

    async def lane_heads(self, *, thorough: bool) -> Sequence[Head]:
        """Return the head of every lane where a job waits, best (rank, seq) first.

        `thorough` looks everywhere; without it, rows that came back against all odds may be overlooked.
        """
        ...

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        """Start the best waiting jobs of the lane, up to the slots, none of a rank worse than max_rank.

        In order of (rank, seq), dealt round robin over the executors. Raises each job's attempt number.
        """
        ...

    async def promote_due(self) -> datetime.datetime | None:
        """Make SCHEDULED jobs that are due QUEUED, at their old place; return the next due time."""
        ...

    async def count_waiting(self, limit: int) -> int:
        """Count QUEUED jobs, but no further than `limit`."""
        ...

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        """Return the bytes of those of the client's images that exist."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """What is kept of an attempt that ended."""

    attempt_id: AttemptId
    outcome: AttemptOutcome
    finish_time: datetime.datetime
    error: JobError | None = None
    usage: Usage | None = None
    cost_usd: float = 0.0
    model_version: str = ""
    stage_seconds: Mapping[Stage, float]
    paid: bool = False
    raw_answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRecord:
    """An attempt that ends its job: SUCCEEDED with an output, or FAILED with the attempt's error."""

    record: AttemptRecord
    state: JobState
    output_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRecord:
    """An attempt after which its job waits again, at its old place.

    Attributes:
        charged: Whether it counts as a retry.
        due_time: SCHEDULED until then; None makes it QUEUED at once.
    """

    record: AttemptRecord
    charged: bool
    due_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """What the retry decision needs to know of a running attempt."""

    lane: str
    retry_count: int
    max_retries: int


class OutcomeStore(Protocol):
    """Writes what became of attempts. Every write is fenced by the attempt id."""

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        """Return what is known of those attempts that are still their job's running ones."""
        ...

    async def finish(self, finals: Sequence[FinalRecord]) -> Collection[AttemptId]:
        """End jobs, each named once; return the attempts that did.

        A FAILED one needs its attempt to be the running one. A success is also taken from an attempt that was given
        up, or superseded by a newer one, as long as its job is not final: it is paid for.
        """
        ...

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        """Let jobs, each named once, wait again; return the attempts that were the running ones, and so did."""
        ...

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        """Store the latest stage of attempts that still run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorInfo:
    """Who dialled."""

    executor_id: str
    host: str
    version: str
    capacity: int
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What became of a hello.

    Attributes:
        session: Rises with every hello of the executor.
        held: Attempts the executor holds and keeps.
        orphaned: Attempts that run under the executor's id but that it does not hold: their assignment was never
            received, and the caller gives them back.
    """

    session: int
    held: Mapping[AttemptId, RunningJob]
    orphaned: Collection[AttemptId]


class ExecutorStore(Protocol):
    """Knows which executors live, and what runs on those that do not."""

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        """Begin a new session, and move the held attempts that still run there into it."""
        ...

    async def touch(self, executor_id: str, session: int) -> bool:
        """Note a sign of life; False if the session is not the executor's current one or was declared lost."""
        ...

    async def declare_lost(self, silent_for: datetime.timedelta) -> Collection[AttemptId]:
        """Declare the sessions lost that gave no sign of life for this long.

        Returns the running attempts of every session that is over, lost now or earlier, or followed by another one that
        did not take them along, for the caller to give back.
        """
        ...

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        """Return the lanes, or provider/* patterns, that executors seen within this time serve."""
        ...

    async def runs_with_image(self, job_id: str, sha256: str) -> str | None:
        """Return the client of the job if it is RUNNING and uses the image."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs a list shows; "" and empty mean all."""

    user_id: str = ""
    states: frozenset[JobState] = frozenset()
    labels: Mapping[str, str]


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


class Store(SubmissionStore, ClaimStore, OutcomeStore, ExecutorStore, JobReader, Protocol):
    """All of it: what an implementation provides."""
