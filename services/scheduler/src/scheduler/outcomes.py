"""What an executor says of an attempt's end, and what is kept of it. Pure."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from policies import prices, provider_failures
from policies.breaker import Health
from scheduler.jobs import AttemptOutcome, JobError, Stage, Usage
from scheduler.records import AttemptId, AttemptRecord

_CALLING = (Stage.GEMINI_ANALYZING, Stage.DEEPSEEK_ANALYZING)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A valid answer."""

    output_json: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No valid answer.

    Attributes:
        error: What happened.
        raw_answer: The provider's answer as it was, cut.
        retry_after: The provider's own time.
        flaw: What was wrong with the answer, as `policies.ladder.Flaw`; "" for nothing.
        output_path: Where in the answer the schema is not satisfied.
        image_sha256: The image that is to blame; "" if nobody knows.
        schema_suspected: Whether the provider refused the request without saying why.
    """

    error: JobError
    raw_answer: str = ""
    retry_after: datetime.timedelta | None = None
    flaw: str = ""
    output_path: str = ""
    image_sha256: str = ""
    schema_suspected: bool = False


@dataclass(frozen=True, slots=True)
class Throttled:
    """The provider's limit was hit.

    Attributes:
        message: The provider's words.
        retry_after: The provider's own time.
        lane_stop: Why nobody may call the lane until a person has acted; "" if it is only a matter of time.
    """

    message: str
    retry_after: datetime.timedelta | None = None
    lane_stop: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """Goes back without blame."""

    message: str


Verdict = Succeeded | Failed | Throttled | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended, as its executor tells it.

    Attributes:
        paid: Whether it counts as a paid call.
        step: Which one it was an attempt at.
        steps: How many the job has.
        service_tier: What the provider says it served, else what was asked for; "" for the standard one.
        unanswered: Whether the call was sent and no answer came.
        lane: Where it was called, as this scheduler knows; "" where it does not.
    """

    attempt_id: AttemptId
    verdict: Verdict
    usage: Usage | None
    model_version: str
    stage_seconds: Mapping[Stage, float]
    paid: bool
    traceparent: str
    step: int = 1
    steps: int = 1
    service_tier: str = ""
    unanswered: bool = False
    lane: str = ""

    @property
    def asked_model(self) -> str:
        """The model that was asked for; "" where nobody knows."""
        return self.lane.partition("/")[2]

    @property
    def health(self) -> Health:
        """What it says about the provider."""
        match self.verdict:
            case Succeeded():
                return Health.ANSWERED
            case Failed(error=error):
                called = any(stage in self.stage_seconds for stage in _CALLING)
                return provider_failures.health_of(error.kind, called=called)
            case _:
                return Health.UNKNOWN


def record_of(outcome: Outcome, *, now: datetime.datetime) -> AttemptRecord:
    """Return what is kept of an attempt."""
    how, error = _said(outcome.verdict)
    failed = outcome.verdict if isinstance(outcome.verdict, Failed) else None
    return AttemptRecord(
        attempt_id=outcome.attempt_id,
        outcome=how,
        finish_time=now,
        error=error,
        usage=outcome.usage,
        cost_usd=cost_usd(outcome, now.date()),
        model_version=outcome.model_version,
        stage_seconds=outcome.stage_seconds,
        paid=outcome.paid,
        unanswered=outcome.unanswered,
        flaw=failed.flaw if failed else "",
        output_path=failed.output_path if failed else "",
        raw_answer=failed.raw_answer if failed else "",
        service_tier=outcome.service_tier,
    )


def _said(verdict: Verdict) -> tuple[AttemptOutcome, JobError | None]:
    match verdict:
        case Succeeded():
            return AttemptOutcome.SUCCEEDED, None
        case Failed(error=error):
            return AttemptOutcome.FAILED, error
        case Throttled(message=message):
            return AttemptOutcome.THROTTLED, JobError(kind="THROTTLED", message=message, retryable=True)
        case Released(message=message):
            return AttemptOutcome.RELEASED, JobError(kind="RELEASED", message=message, retryable=True)
        case _:
            assert_never(verdict)


def cost_usd(outcome: Outcome, day: datetime.date) -> float:
    """Return what an attempt cost, at the price of the model that was asked for where the answering one has none.

    It is 0 where the provider counted nothing.
    """
    if outcome.usage is None:
        return 0.0
    return prices.cost_usd(
        outcome.model_version,
        asked=outcome.asked_model,
        service_tier=outcome.service_tier,
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        thinking_tokens=outcome.usage.thinking_tokens,
        cached_tokens=outcome.usage.cached_tokens,
        day=day,
    )
