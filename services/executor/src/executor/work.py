"""The nouns of an executor: what it is given, what it does, and what came of it."""

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Stage(enum.IntEnum):
    """What an attempt is doing; the numbers are the contract's."""

    STARTING = 1
    FETCHING_IMAGE = 2
    GEMINI_ANALYZING = 4
    VALIDATING = 6


@dataclass(frozen=True, slots=True)
class AttemptId:
    """Names one attempt of one job."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image of a job: lower-case hex SHA-256 and MIME type."""

    sha256: str
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How the model generates; None and "" leave the model's default."""

    temperature: float | None = None
    max_output_tokens: int | None = None
    media_resolution: str = ""
    thinking_level: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt to make.

    Attributes:
        inline_images: Bytes of the small images by hash; the others are fetched.
        schema_json: The full JSON schema of the answer.
        timeout_seconds: From the start of the call.
        traceparent: W3C trace context of the dispatch.
    """

    attempt_id: AttemptId
    model: str
    images: Sequence[ImageRef]
    inline_images: Mapping[str, bytes]
    prompt: str
    system_instruction: str
    schema_json: str
    generation: Generation
    timeout_seconds: float
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; thinking is billed as output, cached and image are parts of input."""

    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A valid answer."""

    output_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No valid answer. `kind` is an UPPER_SNAKE word of an open set, `retry_after_seconds` the provider's own time."""

    kind: str
    message: str
    retryable: bool
    retry_after_seconds: float | None = None
    raw_answer: str = ""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The provider's limit was hit; the time is the provider's own."""

    message: str
    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Released:
    """Not begun; goes back unspent."""

    message: str


Verdict = Succeeded | Failed | Throttled | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        paid: Whether a call was begun that may have been billed: it was answered, or ended without an answer.
        traceparent: W3C trace context of the attempt.
    """

    attempt_id: AttemptId
    verdict: Verdict
    finish_time: datetime.datetime
    traceparent: str
    usage: Usage | None = None
    model_version: str = ""
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict)
    paid: bool = False
