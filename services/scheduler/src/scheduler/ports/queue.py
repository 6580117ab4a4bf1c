"""What dealing jobs out, and taking in what became of them, needs."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from scheduler.jobs import JobSpec, Stage
from scheduler.lanes import Lane
from scheduler.records import (
    AdvanceRecord,
    AttemptId,
    AttemptRecord,
    ClaimedJob,
    Ended,
    ExecutorInfo,
    FinalRecord,
    Heads,
    LaneLoad,
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

    async def get_images(
        self, client_id: str, sha256s: Collection[str], *, within: datetime.timedelta | None = None
    ) -> Mapping[str, bytes]:
        """Return the bytes of those of the client's images that exist.

        With `within`, of those that are outside of the database only what can be read in that time.
        """
        ...

    async def step_outputs(self, job_ids: Collection[str]) -> Mapping[str, str]:
        """Return what the first step gave, as JSON, of those of the jobs that have passed it."""
        ...


class OutcomeStore(Protocol):
    """Writes what became of attempts. Every write is fenced by the attempt id."""

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        """Return what is known of those attempts that are still their job's running ones."""
        ...

    async def finish(self, finals: Sequence[FinalRecord]) -> Ended:
        """End jobs, each named once.

        Anything but a success needs its attempt to be the running one. A success is also taken from an attempt that was
        given up, or superseded by a newer one, as long as its job is not final and still in its step: it is paid for.
        It resets the failures that its lane counted in a row.

        The followers of a job share its success, and a failure that is not retryable. Otherwise the oldest of them
        leads from now on; a second time for the same kind of failure all fail alike.
        """
        ...

    async def advance(self, advances: Sequence[AdvanceRecord]) -> Ended:
        """Let jobs, each named once, wait in the lane of their next step, with what the one before gave.

        Taken as a success in `finish` is. Retries, paid calls, deaths and flaws are counted anew. `attempts` are those
        that brought their job on.
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
        """Let jobs, each named once, wait again; return the attempts that were the running ones, and so did.

        The flaw of a record is kept with its job until the step is over.
        """
        ...

    async def specs_of(self, job_ids: Collection[str]) -> Mapping[str, tuple[str, JobSpec]]:
        """Return the client and the spec of those jobs that exist, whoever's they are."""
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
