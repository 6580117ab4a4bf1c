"""The executor's nouns: an assignment on its way in, an outcome on its way out.

Job ids are opaque text. Spans are timedeltas, times are aware and by this machine's clock.
"""

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class AttemptId(NamedTuple):
    """Names one attempt: the fence of everything said about it. A tuple, because it is the key of every table."""

    job_id: str
    attempt: int


class Stage(enum.IntEnum):
    """What an attempt is doing; the numbers are the contract's."""

    FETCHING_IMAGE = 2
    WAITING_FOR_PERMIT = 3
    GEMINI_ANALYZING = 4
    DEEPSEEK_ANALYZING = 5
    VALIDATING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """An image of a job: lower-case hex SHA-256 and MIME type, or the https address where it is."""

    sha256: str
    mime_type: str
    uri: str = ""


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
    """One step of a job to do.

    Attributes:
        attempt_id: Which attempt at it.
        lane: Provider and model, as the scheduler counts them.
        schema_json: The caller's full JSON schema, which the answer must satisfy.
        inline_images: Bytes that came with the assignment, by SHA-256; the others are fetched.
        timeout: The longest the call may take, from its start.
        traceparent: W3C trace context of the dispatch.
        permit_required: Whether the call needs a permit of its own.
        start_within: The call must begin within this time from receipt; None means at any time.
        step: Which one of the job, from 1.
        steps: How many the job has.
        input_json: What the step before gave; "" in the first.
    """

    attempt_id: AttemptId
    lane: str
    model: str
    prompt: str
    system_instruction: str = ""
    schema_json: str
    images: tuple[ImageRef, ...]
    inline_images: Mapping[str, bytes] = field(default_factory=dict)
    generation: Generation = field(default_factory=Generation)
    timeout: datetime.timedelta
    traceparent: str = ""
    permit_required: bool = False
    start_within: datetime.timedelta | None = None
    step: int = 1
    steps: int = 1
    input_json: str = ""

    @property
    def provider(self) -> str:
        """Who is called: gemini or deepseek."""
        return self.lane.partition("/")[0]


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
    """A valid answer, as canonical JSON."""

    output_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No valid answer.

    Attributes:
        kind: UPPER_SNAKE, of an open set.
        message: For people.
        retryable: Whether the same job may succeed later.
        raw_answer: The provider's answer as it was, cut.
        retry_after: The provider's own time, if it named one.
        flaw: What is wrong with the answer, as `policies.ladder.Flaw`; "" for nothing.
        output_path: Where in the answer the schema is not satisfied.
        image_sha256: The image that is to blame; "" if nobody knows.
        schema_suspected: Whether the provider refused the request without saying why.
    """

    kind: str
    message: str
    retryable: bool
    raw_answer: str = ""
    retry_after: datetime.timedelta | None = None
    flaw: str = ""
    output_path: str = ""
    image_sha256: str = ""
    schema_suspected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The provider takes no calls of the lane for a while, whatever the job.

    Attributes:
        message: For people.
        retry_after: The provider's own time, None if it named none.
        lane_stop: Why nobody may call the lane until a person has acted; "" if only time has to pass.
    """

    message: str
    retry_after: datetime.timedelta | None
    lane_stop: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """Goes back without blame."""

    message: str


Verdict = Succeeded | Failed | Throttled | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        attempt_id: Which attempt.
        verdict: How.
        usage: What the provider counted, if it answered.
        model_version: The model that answered, in the provider's words.
        stage_seconds: Where the time went.
        paid: Whether a paid call was begun, and may have been billed.
        traceparent: W3C trace context of the attempt.
        finish_time: When.
        step: As in the assignment.
        steps: As in the assignment.
        service_tier: What the provider says it served, else what was asked for.
        unanswered: Whether the call was sent and no answer came.
    """

    attempt_id: AttemptId
    verdict: Verdict
    usage: Usage | None = None
    model_version: str = ""
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict)
    paid: bool = False
    traceparent: str = ""
    finish_time: datetime.datetime
    step: int = 1
    steps: int = 1
    service_tier: str = ""
    unanswered: bool = False
