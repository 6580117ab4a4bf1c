"""What Gemini refuses, in its own words: HTTP status, canonical code, message and details.

The texts are the real server's as far as they are known. It tells nothing with "Request contains an invalid argument.";
the emulator keeps that message, and says why in a DebugInfo detail.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_RPC = "type.googleapis.com/google.rpc."
_RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_OVER_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    f"head to: {_RATE_LIMITS}."
)
_TROUBLESHOOTING = "https://developers.generativeai.google/guide/troubleshooting"


class ApiError(Exception):
    """A call is refused, and not billed.

    Attributes:
        code: The HTTP status.
        status: The canonical name of google.rpc.Code.
        message: For people, and for clients that cannot do better than match it.
        details: The google.rpc details, as JSON.
    """

    def __init__(self, code: int, status: str, message: str, details: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = tuple(details)

    def body(self) -> dict[str, object]:
        """Return the JSON that goes over the wire."""
        error: dict[str, object] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong with a body; `field` is the path in the names of the proto, "" is the root."""

    field: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceededQuota:
    """A limit that a call would exceed, in the provider's names; it would keep the limit after `retry_seconds`."""

    metric: str
    quota_id: str
    limit: int
    retry_seconds: float


def invalid_api_key() -> ApiError:
    message = "API key not valid. Please pass a valid API key."
    reason = {
        "@type": f"{_RPC}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return _invalid(message, reason, {"@type": f"{_RPC}LocalizedMessage", "locale": "en-US", "message": message})


def model_not_found(model: str, api_version: str) -> ApiError:
    return ApiError(
        404,
        "NOT_FOUND",
        f"models/{model} is not found for API version {api_version}, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def invalid_payload(violations: Sequence[Violation]) -> ApiError:
    """Return the refusal of a body that is not the message it should be."""
    found = [{"field": violation.field, "description": violation.description} for violation in violations]
    return _invalid(
        "\n".join(violation.description for violation in violations),
        {"@type": f"{_RPC}BadRequest", "fieldViolations": found},
    )


def malformed_json(reason: str) -> ApiError:
    return _invalid(f"Invalid JSON payload received. {reason}")


def invalid_request(path: str, problem: str) -> ApiError:
    """Return the refusal of a sound message that asks for what cannot be; `path` is in the names of the proto."""
    return _invalid(f"* GenerateContentRequest.{path}: {problem}\n")


def invalid_argument(reason: str) -> ApiError:
    """Return the refusal that tells nothing; the reason is the emulator's addition."""
    return _invalid(
        "Request contains an invalid argument.", {"@type": f"{_RPC}DebugInfo", "detail": f"emulator: {reason}"}
    )


def invalid_value(message: str) -> ApiError:
    """Return a refusal whose message says it all."""
    return _invalid(message)


def too_many_states() -> ApiError:
    return _invalid(
        "The specified schema produces a constraint that has too many states for serving. Typical causes of this error "
        "are schemas with lots of text (for example, very long property or enum names), schemas with long array length "
        "limits (especially when nested), or schemas using complex value matchers (for example, integers or numbers "
        "with minimum/maximum bounds or strings with complex formats like date-time)"
    )


def unreadable_image() -> ApiError:
    return _invalid(f"Unable to process input image. Please retry or report in {_TROUBLESHOOTING}")


def mislabelled_image() -> ApiError:
    return _invalid("Provided image is not valid.")


def unsupported_mime_type(mime_type: str) -> ApiError:
    return _invalid(f"Unsupported MIME type: {mime_type}")


def payload_too_large(limit_bytes: int) -> ApiError:
    return _invalid(f"Request payload size exceeds the limit: {limit_bytes} bytes.")


def cancelled() -> ApiError:
    return ApiError(499, "CANCELLED", "The operation was cancelled.")


def deadline_exceeded() -> ApiError:
    return ApiError(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")


def internal() -> ApiError:
    return ApiError(500, "INTERNAL", f"An internal error has occurred. Please retry or report in {_TROUBLESHOOTING}")


def overloaded() -> ApiError:
    return ApiError(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def quota_exceeded(model: str, exceeded: Sequence[ExceededQuota]) -> ApiError:
    """Return the refusal of a call over one or more limits; the longest time is named."""
    seconds = max(quota.retry_seconds for quota in exceeded)
    limits = [
        f"* Quota exceeded for metric: {quota.metric}, limit: {quota.limit}, model: {model}" for quota in exceeded
    ]
    violations = [
        {
            "quotaMetric": quota.metric,
            "quotaId": quota.quota_id,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(quota.limit),
        }
        for quota in exceeded
    ]
    return _exhausted(
        "\n".join([_OVER_QUOTA, *limits, f"Please retry in {_duration(seconds)}."]),
        {"@type": f"{_RPC}QuotaFailure", "violations": violations},
        {"@type": f"{_RPC}Help", "links": [{"description": "Learn more about Gemini API quotas", "url": _RATE_LIMITS}]},
        {"@type": f"{_RPC}RetryInfo", "retryDelay": _duration(seconds)},
    )


def resource_exhausted() -> ApiError:
    """Return the 429 that tells nothing, not even when to come back."""
    return _exhausted("Resource has been exhausted (e.g. check quota).")


def credits_depleted(code: int) -> ApiError:
    """Return what a prepaid account hears whose money is used up: a 402 as documented, or the 429 of the field."""
    return ApiError(
        code,
        "RESOURCE_EXHAUSTED",
        "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
    )


def unavailable() -> ApiError:
    return ApiError(503, "UNAVAILABLE", "The service is currently unavailable.")


def not_emulated(what: str) -> ApiError:
    """Return the refusal of what Gemini can do and the emulator cannot: better than an answer that pretends."""
    return ApiError(501, "UNIMPLEMENTED", f"The emulator does not emulate {what}.")


def _exhausted(message: str, *details: Mapping[str, object]) -> ApiError:
    return ApiError(429, "RESOURCE_EXHAUSTED", message, details)


def _duration(seconds: float) -> str:
    """Return a google.protobuf.Duration as JSON, never shorter than the time is."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds / 1000:.3f}s"


def _invalid(message: str, *details: Mapping[str, object]) -> ApiError:
    return ApiError(400, "INVALID_ARGUMENT", message, details)
