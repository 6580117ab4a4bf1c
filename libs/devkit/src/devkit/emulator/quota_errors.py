"""What Gemini says when a limit is exceeded or the money is used up: the 429s and the 402, in its own words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devkit.emulator.errors import RPC, ApiError

_RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_OVER_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    f"head to: {_RATE_LIMITS}."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceededQuota:
    """A limit that a call would exceed, in the provider's names; it would keep the limit after `retry_seconds`."""

    metric: str
    quota_id: str
    limit: int
    retry_seconds: float


def quota_exceeded(model: str, exceeded: Sequence[ExceededQuota], *, retry_delay: str | None = None) -> ApiError:
    """Return the refusal of a call over one or more limits; the longest time is named, or else the raw text."""
    delay = duration(max(quota.retry_seconds for quota in exceeded)) if retry_delay is None else retry_delay
    limits = [
        f"* Quota exceeded for metric: {quota.metric}, limit: {quota.limit}, model: {model}" for quota in exceeded
    ]
    return _exhausted(
        "\n".join([_OVER_QUOTA, *limits, f"Please retry in {delay}."]),
        *_details(model, exceeded, delay),
    )


def quota_exceeded_tersely(model: str, exceeded: Sequence[ExceededQuota], *, retry_delay: str) -> ApiError:
    """Return the same with the older message, which names no limit."""
    return _exhausted(_OVER_QUOTA, *_details(model, exceeded, retry_delay))


def resource_exhausted(headers: Mapping[str, str] | None = None) -> ApiError:
    """Return the 429 that tells nothing, unless its headers do."""
    return ApiError(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", headers=headers)


def quota_exceeded_with_help_only() -> ApiError:
    """Return the 429 that has nothing but a link for people."""
    return _exhausted(_OVER_QUOTA, _help())


def credits_depleted(code: int) -> ApiError:
    """Return what a prepaid account hears whose money is used up: a 402 as documented, or the 429 of the field."""
    return ApiError(
        code,
        "RESOURCE_EXHAUSTED",
        "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
    )


def duration(seconds: float) -> str:
    """Return a google.protobuf.Duration as JSON, never shorter than the time is."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds / 1000:.3f}s"


def _details(model: str, exceeded: Sequence[ExceededQuota], retry_delay: str) -> list[Mapping[str, object]]:
    violations = [
        {
            "quotaMetric": quota.metric,
            "quotaId": quota.quota_id,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(quota.limit),
        }
        for quota in exceeded
    ]
    return [
        {"@type": f"{RPC}QuotaFailure", "violations": violations},
        _help(),
        {"@type": f"{RPC}RetryInfo", "retryDelay": retry_delay},
    ]


def _help() -> Mapping[str, object]:
    link = {"description": "Learn more about Gemini API quotas", "url": _RATE_LIMITS}
    return {"@type": f"{RPC}Help", "links": [link]}


def _exhausted(message: str, *details: Mapping[str, object]) -> ApiError:
    return ApiError(429, "RESOURCE_EXHAUSTED", message, details)
