"""The domain's nouns: a job from submission to its final state, as the use cases see it.

Ids are UUIDv7 in canonical text form, times are aware and in the database's time.
"""

import datetime
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


class JobState(enum.IntEnum):
    """Where a job is in its life; the numbers are stored."""

    SCHEDULED = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    EXPIRED = 7

    @property
    def is_final(self) -> bool:
        return self >= JobState.SUCCEEDED


class Stage(enum.IntEnum):
    """What a running attempt is doing; the numbers are stored."""

    STARTING = 1
    FETCHING_IMAGE = 2
    WAITING_FOR_PERMIT = 3
    GEMINI_ANALYZING = 4
    DEEPSEEK_ANALYZING = 5
    VALIDATING = 6


class CachePolicy(enum.IntEnum):
    """Whether an identical earlier result may answer; the numbers are stored."""

    USE = 1
    REFRESH = 2
    OFF = 3


class AttemptOutcome(enum.IntEnum):
    """How an attempt ended; the numbers are stored."""

    SUCCEEDED = 1
    FAILED = 2
    THROTTLED = 3
    RELEASED = 4
    LOST = 5
    CANCELLED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """An image that is stored, or one that its executor will fetch.

    Attributes:
        sha256: Lower-case hex; "" for one that has a uri.
        mime_type: What its bytes are; of one that has a uri, what the caller says, "" for nothing.
        size: In bytes; 0 for one that has a uri.
        uri: The https address of one that is not stored; "" for one that is.
    """

    sha256: str
    mime_type: str
    size: int
    uri: str = ""

    @property
    def shown_uri(self) -> str:
        """The uri as others than its owner may see it: what follows the path may be a signature."""
        return re.split(r"[?#]", self.uri, maxsplit=1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How the model generates; None and "" leave the model's default."""

    temperature: float | None = None
    max_output_tokens: int | None = None
    media_resolution: str = ""
    thinking_level: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcess:
    """The second step: another model reworks the JSON of the first. Schema as in JobSpec."""

    model: str
    prompt: str
    schema_json: str
    schema_is_struct: bool


def model_of(lane: str) -> str:
    """Return the model that is asked in a lane."""
    return lane.partition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A valid request with its defaults filled in.

    Attributes:
        schema_json: The caller's full JSON schema; a Struct's has sorted keys.
        schema_is_struct: Whether it came, and goes back, as a Struct.
        priority: 1 high, 2 normal, 3 low.
        timeout: For one attempt.
        post_process: The second step; None for a job of one.
        schedule_time: Not before it.
        expire_time: No attempt starts after it.
    """

    user_id: str
    images: tuple[ImageRef, ...]
    prompt: str
    system_instruction: str
    schema_json: str
    schema_is_struct: bool
    model: str
    priority: int
    timeout: datetime.timedelta
    max_retries: int
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: Generation = field(default_factory=Generation)
    post_process: PostProcess | None = None
    cache: CachePolicy = CachePolicy.USE
    fail_fast: bool = False
    schedule_time: datetime.datetime | None = None
    expire_time: datetime.datetime | None = None

    @property
    def lane(self) -> str:
        """What shares one quota: provider and model. Of the first step."""
        return f"gemini/{self.model}"

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lane of each step."""
        return (self.lane,) if self.post_process is None else (self.lane, f"deepseek/{self.post_process.model}")

    def lane_of(self, step: int) -> str:
        """Return the lane of a step; of the last one that is known, where content was removed."""
        return self.lanes[min(max(step, 1), len(self.lanes)) - 1]

    def without_content(self) -> "JobSpec":
        """Return what is left of the spec after a purge: for whom it was, and how it was to be run."""
        return replace(self, **BLANKS)


BLANKS: Mapping[str, Any] = {
    "images": (),
    "prompt": "",
    "system_instruction": "",
    "schema_json": "",
    "schema_is_struct": False,
    "labels": {},
    "post_process": None,
}
"""What a purge puts in the place of a spec's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image to store."""

    ref: ImageRef
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to store.

    Attributes:
        request_id: Makes the submission safe to repeat; "" for none.
        spec_hash: SHA-256 of the canonical spec: tells a repeated submission from another one under the same id.
        traceparent: W3C trace context of the submission.
        dedup_key: The same for identical requests of one client; None lets the job neither share a call nor a result.
        retried_from: The job that this one does again.
        step: Where it begins: at 2 with the output that the first step of `retried_from` gave.
    """

    job_id: str
    spec: JobSpec
    request_id: str
    spec_hash: bytes
    create_time: datetime.datetime
    traceparent: str
    dedup_key: bytes | None = None
    retried_from: str | None = None
    step: int = 1

    @property
    def due_time(self) -> datetime.datetime | None:
        """When it may start, if that is later than its creation."""
        later = self.spec.schedule_time is not None and self.spec.schedule_time > self.create_time
        return self.spec.schedule_time if later else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; thinking is billed as output, cached and image are parts of input."""

    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            image_tokens=self.image_tokens + other.image_tokens,
        )

    def __neg__(self) -> "Usage":
        return Usage(
            input_tokens=-self.input_tokens,
            output_tokens=-self.output_tokens,
            thinking_tokens=-self.thinking_tokens,
            cached_tokens=-self.cached_tokens,
            image_tokens=-self.image_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job or an attempt failed: an UPPER_SNAKE kind of an open set, and a sentence."""

    kind: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One delivery of a step to an executor, after its end. Stage durations are in seconds.

    Attributes:
        model: What was asked for.
        paid: Whether it counts as a paid call.
        unanswered: Whether it was sent and no answer came: it may have been billed, and its cost is not known.
        flaw: What was wrong with an answer that cannot be used, as `policies.ladder.Flaw`; "" for nothing.
        output_path: Where in the answer the schema is not satisfied.
        raw_answer: The answer that cannot be used, cut.
        service_tier: What the provider says it served, else what was asked for.
    """

    attempt: int
    step: int
    executor_id: str
    start_time: datetime.datetime
    finish_time: datetime.datetime
    outcome: AttemptOutcome
    error: JobError | None
    usage: Usage | None
    cost_usd: float
    model_version: str
    stage_seconds: Mapping[Stage, float]
    model: str = ""
    paid: bool = False
    unanswered: bool = False
    flaw: str = ""
    output_path: str = ""
    raw_answer: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a job gave. Stage durations, in seconds, are those of the attempt that succeeded."""

    output_json: str
    model_version: str
    usage: Usage
    cost_usd: float
    cached: bool
    stage_seconds: Mapping[Stage, float]


class WaitReason(enum.IntEnum):
    """Why a job waits; the numbers are the contract's."""

    BEHIND_OTHERS = 1
    NO_EXECUTOR = 2
    QUOTA = 3
    CIRCUIT_BREAKER = 4
    PAUSED = 5
    LANE_STOPPED = 6
    RETRY_BACKOFF = 7
    SCHEDULED = 8
    FOLLOWING = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a job waits, and until when if that is known."""

    reason: WaitReason
    message: str
    until_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is now.

    Attributes:
        leader: The identical job whose result it waits for.
        cost_usd: US dollars over all attempts so far.
        purged: Whether its content was removed: texts are empty, states, times and costs are not.
    """

    job_id: str
    client_id: str
    spec: JobSpec
    traceparent: str
    state: JobState
    create_time: datetime.datetime
    step: int = 1
    attempt: int = 0
    retry_count: int = 0
    stage: Stage | None = None
    stage_start_time: datetime.datetime | None = None
    start_time: datetime.datetime | None = None
    finish_time: datetime.datetime | None = None
    next_attempt_time: datetime.datetime | None = None
    executor_id: str = ""
    leader: str | None = None
    retried_from: str | None = None
    wait: Wait | None = None
    result: Result | None = None
    error: JobError | None = None
    attempts: tuple[Attempt, ...] = ()
    cost_usd: float = 0.0
    purged: bool = False

    @property
    def lane(self) -> str:
        """The lane of its present step."""
        return self.spec.lane_of(self.step)

    @property
    def progress(self) -> tuple[int, int, int, int, int]:
        """Orders the appearances of one job: a later one compares greater, so a watcher never goes back."""
        return (
            self.state.is_final,
            self.step,
            self.attempt,
            # A retry waits after its attempt ran.
            self.state is not JobState.RUNNING and self.attempt > 0,
            self.stage or 0,
        )
