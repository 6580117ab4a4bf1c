"""What passes between the use cases and the store: claims, ends, returns, registrations."""

import datetime
import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from scheduler.callers import ANONYMOUS
from scheduler.jobs import AttemptOutcome, JobError, JobSpec, JobState, Stage, Usage


class AttemptId(NamedTuple):
    """Names one attempt: the fence of every write about it. A tuple, because it is the key of every table."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of one submitted job.

    Attributes:
        job_id: The job that stands for the submission; another one's where its request_id was known.
        is_known: An earlier submission with the same request_id made it.
        is_cached: A recent result answered it: it is SUCCEEDED.
        leader: The identical job in flight whose result it waits for.
    """

    job_id: str
    is_known: bool = False
    is_cached: bool = False
    leader: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The best waiting job of a lane."""

    lane: str
    rank: int
    seq: int


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of the lanes that take calls, best (rank, seq) first.

    Attributes:
        heads: None of a lane that is closed, or whose pace admits nothing soon.
        next_time: When the first of the other lanes where a job waits takes calls again, if time alone does it.
    """

    heads: Sequence[Head]
    next_time: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class Slots:
    """Free slots of one executor's session."""

    executor_id: str
    session: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job that is RUNNING now, for one executor; `flaws` are those of its answers in this step, oldest first."""

    attempt_id: AttemptId
    executor_id: str
    session: int
    client_id: str
    lane: str
    rank: int
    seq: int
    step: int
    spec: JobSpec
    retry_count: int
    permit_required: bool
    traceparent: str
    queued_time: datetime.datetime
    start_time: datetime.datetime
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """What is kept of an attempt that ended; as in `jobs.Attempt`."""

    attempt_id: AttemptId
    outcome: AttemptOutcome
    finish_time: datetime.datetime
    error: JobError | None = None
    usage: Usage | None = None
    cost_usd: float = 0.0
    model_version: str = ""
    stage_seconds: Mapping[Stage, float]
    paid: bool = False
    unanswered: bool = False
    flaw: str = ""
    output_path: str = ""
    raw_answer: str = ""
    service_tier: str = ""

    def without_content(self) -> "AttemptRecord":
        """Return what may be kept of an attempt whose job was purged."""
        error = replace(self.error, message="") if self.error else None
        return replace(self, error=error, raw_answer="", output_path="")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalRecord:
    """An attempt that ends its job.

    Attributes:
        state: SUCCEEDED with an output, FAILED with an error, or EXPIRED.
        error: The job's; None takes the attempt's.
        session: The end counts only while the attempt runs in this session; None means in any.
        step: Of a success, the step that it ends, which has to be the job's last and present one.
    """

    record: AttemptRecord
    state: JobState
    output_json: str = ""
    error: JobError | None = None
    session: int | None = None
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceRecord:
    """A success of a step that is not the job's last: the job waits in its next lane, at its old seq."""

    record: AttemptRecord
    output_json: str
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRecord:
    """An attempt after which its job waits again, at its old place.

    Attributes:
        charged: Whether it counts as a retry.
        due_time: SCHEDULED until then; None makes it QUEUED at once.
        died_preparing: Its executor died before the call: the job is suspected.
        session: As in FinalRecord.
    """

    record: AttemptRecord
    charged: bool
    due_time: datetime.datetime | None
    died_preparing: bool = False
    session: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """What a decision about a running attempt needs to know.

    Attributes:
        executor_id: Who runs it.
        session: In which of its sessions.
        stage: Where it stands, as last stored.
        paid_calls: Of earlier attempts of the step.
        preparing_deaths: Executors that died while they prepared the job.
        flaws: Of earlier answers in the step, oldest first.
    """

    lane: str
    executor_id: str
    session: int
    stage: Stage
    retry_count: int
    max_retries: int
    paid_calls: int
    preparing_deaths: int
    expire_time: datetime.datetime | None
    step: int = 1
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """An attempt that has to be stopped."""

    attempt_id: AttemptId
    executor_id: str
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What an end of jobs did.

    Attributes:
        attempts: Those that ended their job.
        changed: All jobs in another state now, followers included.
        to_stop: Attempts that ran in the place of one that succeeded late, or whose job was cancelled.
    """

    attempts: Collection[AttemptId] = ()
    changed: Collection[str] = ()
    to_stop: Sequence[RunningAttempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorInfo:
    """Who dialled; `client_id` is its key's."""

    executor_id: str
    host: str
    version: str
    capacity: int
    lanes: tuple[str, ...]
    dial: int = 0
    client_id: str = ANONYMOUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What became of a hello.

    Attributes:
        session: Rises with every hello of the executor.
        held: Attempts the executor holds and keeps; one that was given up is taken back while its job only waits.
        orphaned: Attempts that run under the executor's id but that it does not hold: their assignment was never
            received, and the caller gives them back.
    """

    session: int
    held: Mapping[AttemptId, RunningJob]
    orphaned: Mapping[AttemptId, RunningJob]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs a list shows; "", empty and None mean all. `from_time` is part of the range, `to_time` is not."""

    user_id: str = ""
    states: frozenset[JobState] = frozenset()
    labels: Mapping[str, str]
    lane: str = ""
    from_time: datetime.datetime | None = None
    to_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """Jobs of a lane: those that wait, for a turn or a time, and those that run."""

    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What somebody is about to change.

    Attributes:
        key_id: Whose key; "" where none was needed.
        method: The full name of the call, or the command.
        request: The request as JSON.
    """

    key_id: str
    client_id: str
    method: str
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A change that was asked for; `outcome` is "" until it is known."""

    audit_id: int
    create_time: datetime.datetime
    change: Change
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was removed of a user.

    Attributes:
        jobs: Whose prompt, schema, labels and messages are gone.
        results: Outputs that are gone.
        images: Images that are gone.
        kept_images: SHA-256 of those that stay: unfinished jobs of other users need them, or somebody sent or named
            them again meanwhile.
    """

    jobs: int = 0
    results: int = 0
    images: int = 0
    kept_images: frozenset[str] = frozenset()

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(
            jobs=self.jobs + other.jobs,
            results=self.results + other.results,
            images=self.images + other.images,
            kept_images=self.kept_images | other.kept_images,
        )


class RefusedKind(enum.IntEnum):
    """What the provider refuses again and again; the numbers are stored."""

    SCHEMA = 1
    IMAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something of a client that was refused.

    Attributes:
        kind: What it is.
        client_id: Whose.
        key: SHA-256, of the image's bytes or of the schema's text, in lower-case hex.
        lane: Where a schema was refused; "" for an image.
        count: Refusals in a row.
        until: Nothing with it is tried before this time; None while it is tried.
        message: The last refusal, for people.
    """

    kind: RefusedKind
    client_id: str
    key: str
    lane: str = ""
    count: int
    until: datetime.datetime | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that wants a person.

    Attributes:
        name: UPPER_SNAKE, as MODEL_REROUTED.
        subject: What it is about, as a lane; one alert of a name and subject is active at a time.
        severity: WARNING or CRITICAL.
        message: For people.
        end_time: None while it holds.
    """

    name: str
    subject: str
    severity: str
    message: str
    start_time: datetime.datetime
    end_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which days of a client's usage are summed up, `to_day` excluded, and by what: user, model, day or label:NAME."""

    from_day: datetime.date
    to_day: datetime.date
    group_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What a group used.

    Attributes:
        group: A value for each entry of group_by.
        jobs: Jobs that ended.
        usage: Tokens.
        cost_usd: All of it.
        wasted_usd: The part that gave no accepted result.
        unanswered_calls: Calls that may have been billed without an answer.
    """

    group: Mapping[str, str]
    jobs: int
    usage: Usage
    cost_usd: float
    wasted_usd: float
    unanswered_calls: int
