"""The errors of Gemini that a script calls for: before the model has seen the call, or after it took its time."""

import json
from collections.abc import Callable, Mapping

from devkit.emulator import errors, quota_errors
from devkit.emulator.errors import RPC, ApiError, Violation
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.fault_replies import retry_after
from devkit.emulator.faults import DEFAULT_RETRY_SECONDS, Fault
from devkit.emulator.quota_errors import ExceededQuota
from devkit.emulator.reply import Reply

_Refusal = Callable[[Fault, str, str], ApiError]

_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_"
_BODY_LIMIT_BYTES = 20 << 20


def error_at_once(fault: Fault, *, model: str, api_version: str) -> Reply | None:
    """Return the error that comes before the model sees the call; None if it does see it."""
    refusal = _AT_ONCE.get(fault.kind)
    return None if refusal is None else Reply.of_error(refusal(fault, model, api_version))


def error_at_last(fault: Fault) -> Reply | None:
    """Return the error of a call that took its time for nothing; None if there will be an answer."""
    if fault.kind is FaultKind.LIST_WRAPPED:
        error = errors.overloaded()
        return Reply(body=json.dumps([error.document]).encode(), status=error.code)
    make = _AT_LAST.get(fault.kind)
    return None if make is None else Reply.of_error(make())


def _quota(fault: Fault, metric: str, quota_id: str, limit: int) -> ExceededQuota:
    seconds = DEFAULT_RETRY_SECONDS if fault.retry_seconds is None else fault.retry_seconds
    return ExceededQuota(metric=_METRIC + metric, quota_id=f"{quota_id}-FreeTier", limit=limit, retry_seconds=seconds)


def _minute(fault: Fault) -> ExceededQuota:
    return _quota(fault, "requests", "GenerateRequestsPerMinutePerProjectPerModel", 20)


def _tokens(fault: Fault) -> ExceededQuota:
    return _quota(fault, "input_token_count", "GenerateContentInputTokensPerModelPerMinute", 250_000)


def _day(fault: Fault) -> ExceededQuota:
    return _quota(fault, "requests", "GenerateRequestsPerDayPerProjectPerModel", 20)


def _token_quota(fault: Fault, model: str, _: str) -> ApiError:
    """Return the body as it was seen in the field; its message does not name the limit."""
    delay = quota_errors.duration(26 if fault.retry_seconds is None else fault.retry_seconds)
    return quota_errors.quota_exceeded_tersely(
        model, [_tokens(fault)], retry_delay=delay if fault.retry_delay is None else fault.retry_delay
    )


def _with_delay(delay: str) -> _Refusal:
    return lambda fault, model, _: quota_errors.quota_exceeded(model, [_minute(fault)], retry_delay=delay)


def _exceeded(*quotas: Callable[[Fault], ExceededQuota]) -> _Refusal:
    def refusal(fault: Fault, model: str, _: str) -> ApiError:
        found = [quota(fault) for quota in quotas]
        return quota_errors.quota_exceeded(model, found, retry_delay=fault.retry_delay)

    return refusal


def _unknown_name(_: Fault, __: str, ___: str) -> ApiError:
    path = "generation_config.response_schema"
    description = (
        f"Invalid JSON payload received. Unknown name \"additional_properties\" at '{path}': Cannot find field."
    )
    return errors.invalid_payload([Violation(field=path, description=description)])


def _location(*_: object) -> ApiError:
    return ApiError(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")


def _denied(message: str, reason: str = "") -> ApiError:
    service = "generativelanguage.googleapis.com"
    info = {
        "@type": f"{RPC}ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": service, "consumer": "projects/1"},
    }
    return ApiError(403, "PERMISSION_DENIED", message, [info] if reason else [])


def _disabled(*_: object) -> ApiError:
    return _denied(
        "Generative Language API has not been used in project 1 before or it is disabled. Enable it by visiting "
        "https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview?project=1 then retry.",
        "SERVICE_DISABLED",
    )


def _new_users(_: Fault, model: str, __: str) -> ApiError:
    return ApiError(
        404,
        "NOT_FOUND",
        f"This model models/{model} is no longer available to new users. Please update your code to use a newer model "
        "for the latest features and improvements.",
    )


_AT_ONCE: Mapping[FaultKind, _Refusal] = {
    FaultKind.BARE_ARGUMENT: lambda *_: errors.invalid_value("Request contains an invalid argument."),
    FaultKind.TOO_MANY_STATES: lambda *_: errors.too_many_states(),
    FaultKind.UNKNOWN_NAME: _unknown_name,
    FaultKind.UNREADABLE_IMAGE: lambda *_: errors.unreadable_image(),
    FaultKind.INVALID_IMAGE: lambda *_: errors.mislabelled_image(),
    FaultKind.LOCATION: _location,
    FaultKind.INVALID_KEY: lambda *_: errors.invalid_api_key(),
    FaultKind.PAYLOAD_SIZE: lambda *_: errors.payload_too_large(_BODY_LIMIT_BYTES),
    FaultKind.PAYMENT_REQUIRED: lambda *_: quota_errors.credits_depleted(402),
    FaultKind.PERMISSION_DENIED: lambda *_: _denied("The caller does not have permission"),
    FaultKind.LEAKED_KEY: lambda *_: _denied("Your API key was reported as leaked. Please use another API key."),
    FaultKind.SERVICE_DISABLED: _disabled,
    FaultKind.RETIRED: lambda _, model, api_version: errors.model_not_found(model, api_version),
    FaultKind.NEW_USERS: _new_users,
    FaultKind.MINUTE_QUOTA: _exceeded(_minute),
    FaultKind.TOKEN_QUOTA: _token_quota,
    FaultKind.DAY_QUOTA: _exceeded(_day),
    FaultKind.SEVERAL_QUOTAS: _exceeded(_minute, _tokens, _day),
    FaultKind.BARE_QUOTA: lambda *_: quota_errors.resource_exhausted(),
    FaultKind.HELP_QUOTA: lambda *_: quota_errors.quota_exceeded_with_help_only(),
    FaultKind.BILLING: lambda *_: quota_errors.credits_depleted(429),
    FaultKind.HEADER_SECONDS: lambda fault, *_: quota_errors.resource_exhausted(retry_after(fault)),
    FaultKind.HEADER_DATE: lambda fault, *_: quota_errors.resource_exhausted(retry_after(fault)),
    FaultKind.FRACTIONAL_DELAY: _with_delay("600.5s"),
    FaultKind.HUGE_DELAY: _with_delay("315576000000s"),
    FaultKind.NEGATIVE_DELAY: _with_delay("-5s"),
    FaultKind.ABSURD_DELAY: _with_delay("soon"),
}

_AT_LAST: Mapping[FaultKind, Callable[[], ApiError]] = {
    FaultKind.CANCELLED: errors.cancelled,
    FaultKind.INTERNAL: errors.internal,
    FaultKind.BAD_GATEWAY: lambda: ApiError(502, "UNAVAILABLE", "Bad Gateway"),
    FaultKind.UNAVAILABLE: errors.overloaded,
    FaultKind.SERVICE_UNAVAILABLE: errors.unavailable,
    FaultKind.DEADLINE_UNAVAILABLE: lambda: ApiError(
        503, "UNAVAILABLE", "Deadline expired before operation could complete."
    ),
    FaultKind.DEADLINE: errors.deadline_exceeded,
}
