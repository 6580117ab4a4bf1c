"""The nouns of the contract as plain values: what a caller hands over, what becomes of it, and why it is where it is.

Everything is frozen and free of protobuf. A part that an answer leaves out (its view, or the answer of `submit_many`)
is empty or None.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self


class JobState(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended and never changes again."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}


class JobStage(StrEnum):
    """What a running attempt is doing; UNKNOWN is a stage that a newer scheduler has and this client has not."""

    STARTING = "STARTING"
    FETCHING_IMAGE = "FETCHING_IMAGE"
    WAITING_FOR_PERMIT = "WAITING_FOR_PERMIT"
    GEMINI_ANALYZING = "GEMINI_ANALYZING"
    DEEPSEEK_ANALYZING = "DEEPSEEK_ANALYZING"
    VALIDATING = "VALIDATING"
    UNKNOWN = "UNKNOWN"


class WaitReason(StrEnum):
    """Why a job waits; UNKNOWN is a reason that a newer scheduler has and this client has not."""

    BEHIND_OTHERS = "BEHIND_OTHERS"
    NO_EXECUTOR = "NO_EXECUTOR"
    QUOTA = "QUOTA"
    CIRCUIT_BREAKER = "CIRCUIT_BREAKER"
    PAUSED = "PAUSED"
    LANE_STOPPED = "LANE_STOPPED"
    RETRY_BACKOFF = "RETRY_BACKOFF"
    SCHEDULED = "SCHEDULED"
    FOLLOWING = "FOLLOWING"
    UNKNOWN = "UNKNOWN"


class CachePolicy(StrEnum):
    """Whether an identical earlier result may answer a job."""

    USE = "USE"
    REFRESH = "REFRESH"
    OFF = "OFF"


class JobView(StrEnum):
    """How much of a job an answer carries: BASIC is without prompt, system instruction, schema and attempts."""

    BASIC = "BASIC"
    FULL = "FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of a job: its bytes, the SHA-256 of an image that was uploaded before, or where an executor finds it.

    Attributes:
        data: The bytes. Never part of an answer.
        sha256: Lower-case hex.
        mime_type: Empty takes what the bytes say.
        uri: An https address; a BASIC view leaves out what follows its path, for it may be a signature.
    """

    data: bytes | None = field(default=None, repr=False)
    sha256: str = ""
    mime_type: str = ""
    uri: str = ""

    @classmethod
    def from_file(cls, path: str | Path, *, mime_type: str = "") -> Self:
        """Read the bytes of a file."""
        return cls(data=Path(path).read_bytes(), mime_type=mime_type)

    @classmethod
    def from_uri(cls, uri: str, *, mime_type: str = "") -> Self:
        """Name an https address, which is read only when the job is done: such a job shares no result with others."""
        return cls(uri=uri, mime_type=mime_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How the model generates; None or empty leaves the model's default.

    Attributes:
        temperature: 0 to 2.
        max_output_tokens: Thinking included.
        media_resolution: LOW, MEDIUM, HIGH or ULTRA_HIGH.
        thinking_level: MINIMAL, LOW, MEDIUM or HIGH.
        service_tier: STANDARD, FLEX or PRIORITY. Empty is FLEX at priority 3 unless the scheduler says otherwise, else
            STANDARD.
    """

    temperature: float | None = None
    max_output_tokens: int | None = None
    media_resolution: str = ""
    thinking_level: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcess:
    """A second step: a DeepSeek model reworks the JSON that Gemini gave. Its failure never pays for the first step again.

    Attributes:
        prompt: What to do with the JSON.
        response_schema: A JSON schema as that of a spec; what satisfies it is the job's result.
        model: Empty takes the scheduler's default.
    """

    prompt: str
    response_schema: Mapping[str, Any] | str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a caller hands over.

    Attributes:
        user_id: For whom the job is made; usage is counted by it.
        images: 1 to 16, in the order in which the model sees them.
        prompt: Sent unchanged.
        response_schema: A JSON schema of an object: a mapping, or JSON text that is sent as it is. Answers carry text.
        model: Empty takes the scheduler's default.
        priority: 1 high, 2 normal, 3 low; 0 is 2, or 3 where the key allows no more.
        timeout: Of one attempt. None means 5 min, 20 min in the flex tier.
        max_retries: Of each step. None means 3.
        post_process: An optional second step.
        schedule_time: Not before this time, at most 30 days ahead.
        expire_time: No attempt starts after this time.
        fail_fast: Refuse the job instead of queueing it while the circuit breaker of its lane is open.

    Raises:
        ValueError: A time has no time zone.
    """

    user_id: str
    images: Sequence[Image]
    prompt: str
    response_schema: Mapping[str, Any] | str
    system_instruction: str = ""
    model: str = ""
    priority: int = 0
    timeout: timedelta | None = None
    max_retries: int | None = None
    schedule_time: datetime | None = None
    expire_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: Generation = field(default_factory=Generation)
    post_process: PostProcess | None = None
    cache: CachePolicy = CachePolicy.USE
    fail_fast: bool = False

    def __post_init__(self) -> None:
        refuse_naive(schedule_time=self.schedule_time, expire_time=self.expire_time)


def refuse_naive(**times: datetime | None) -> None:
    """Raise a ValueError that names the first time without time zone: it would be taken for another hour elsewhere."""
    for name, time in times.items():
        if time is not None and time.utcoffset() is None:
            raise ValueError(f"{name} has no time zone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a job waits, in a word and in plain words, and until when if that is known."""

    reason: WaitReason
    message: str
    until_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; the cached and the image tokens are parts of the input."""

    input_tokens: int
    output_tokens: int
    thinking_tokens: int
    cached_tokens: int
    image_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDuration:
    """The time one stage of an attempt took."""

    stage: JobStage
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a job gave.

    Attributes:
        output_json: JSON text, valid against the job's schema.
        model_version: The model that answered, in the provider's words.
        cost_usd: Over all attempts; 0 for a cached result.
        cached: Whether an identical job answered.
    """

    output_json: str
    model_version: str
    usage: Usage
    cost_usd: float
    cached: bool
    stage_durations: tuple[StageDuration, ...]

    @property
    def output(self) -> Any:
        """The parsed JSON; None if it was removed with its user's other data, which `Job.purged` says."""
        return json.loads(self.output_json) if self.output_json else None

    @property
    def emulated(self) -> bool:
        """Whether the emulator made this up, and no model saw the image."""
        return "emulator" in self.model_version.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job, or one attempt, failed. `kind` is an open set of UPPER_SNAKE words."""

    kind: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One delivery of a step of a job to an executor.

    Attributes:
        outcome: SUCCEEDED, FAILED, THROTTLED, RELEASED, LOST or CANCELLED.
        cost_usd: 0 where nobody knows; `unanswered` says so.
        model: The one that was asked for.
        paid: Whether it counts as a paid call.
        unanswered: Whether it was sent and never answered: it may have been billed.
        flaw: What was wrong with an answer that cannot be used, as SCHEMA_MISMATCH.
        output_path: Where in the answer the JSON schema is not satisfied.
        raw_answer: That answer as it came, cut to 64 KiB; only `get` has it.
        service_tier: The tier that the provider says it served, else the one asked for.
    """

    attempt: int
    step: int
    executor_id: str
    start_time: datetime | None
    finish_time: datetime | None
    outcome: str
    error: JobError | None
    usage: Usage | None
    cost_usd: float
    model_version: str
    stage_durations: tuple[StageDuration, ...]
    model: str = ""
    paid: bool = False
    unanswered: bool = False
    flaw: str = ""
    output_path: str = ""
    raw_answer: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request on its way from submission to a final state; `retried_from` is the job that it does again.

    `cost_usd` is over all attempts so far. Of a `purged` one only states, times and costs are left.
    """

    job_id: str
    spec: JobSpec
    client_id: str
    state: JobState
    stage: JobStage | None
    stage_start_time: datetime | None
    step: int
    attempt: int
    retry_count: int
    create_time: datetime | None
    start_time: datetime | None
    finish_time: datetime | None
    next_attempt_time: datetime | None
    executor_id: str
    trace_id: str
    wait: Wait | None
    result: Result | None
    error: JobError | None
    attempts: tuple[Attempt, ...]
    retried_from: str
    purged: bool = False
    cost_usd: float = 0.0
