"""What DeepSeek refuses, in its own words as far as they are known, and the errors that a script calls for."""

from collections.abc import Callable, Mapping

from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.fault_replies import retry_after
from devkit.emulator.faults import Fault
from devkit.emulator.refused import Refused
from devkit.emulator.reply import Reply

_INVALID = "invalid_request_error"


def invalid_format(reason: str) -> Refused:
    return _refused(400, f"Failed to parse the request body as JSON: {reason}", _INVALID)


def invalid_request(message: str) -> Refused:
    return _refused(400, message, _INVALID)


def unknown_model() -> Refused:
    return _refused(400, "Model Not Exist", _INVALID)


def json_not_mentioned() -> Refused:
    return _refused(
        400,
        "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
        _INVALID,
    )


def invalid_parameters(reason: str) -> Refused:
    return _refused(422, f"Failed to deserialize the JSON body into the target type: {reason}", _INVALID)


def authentication_failed(api_key: str) -> Refused:
    """Return the refusal of a key; only its last four characters are told, as the real server does."""
    shown = f"****{api_key[-4:]}" if api_key else "****"
    return _refused(401, f"Authentication Fails, Your api key: {shown} is invalid", "authentication_error")


def insufficient_balance() -> Refused:
    return _refused(402, "Insufficient Balance", "unknown_error")


def rate_limited(headers: Mapping[str, str] | None = None) -> Refused:
    return _refused(429, "Rate limit reached", "rate_limit_error", "rate_limit_reached", headers)


def server_error() -> Refused:
    return _refused(500, "Internal Server Error", "internal_error", "internal_error")


def overloaded() -> Refused:
    message = "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers."
    return _refused(503, message, "service_unavailable_error", "service_unavailable_error")


def not_emulated(what: str) -> Refused:
    """Return the refusal of what DeepSeek can do and the emulator cannot: better than an answer that pretends."""
    return _refused(501, f"The emulator does not emulate {what}.", "emulator_error", "emulator_error")


def error_at_once(fault: Fault) -> Reply | None:
    """Return the error that comes before the model sees the call; None if it does see it."""
    refusal = _AT_ONCE.get(fault.kind)
    return None if refusal is None else Reply.of_error(refusal(fault))


def error_at_last(fault: Fault) -> Reply | None:
    """Return the error of a call that took its time for nothing; None if there will be an answer."""
    refusal = _AT_LAST.get(fault.kind)
    return None if refusal is None else Reply.of_error(refusal())


def _refused(
    status: int, message: str, kind: str, code: str = _INVALID, headers: Mapping[str, str] | None = None
) -> Refused:
    return Refused(status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, headers)


_AT_ONCE: Mapping[FaultKind, Callable[[Fault], Refused]] = {
    FaultKind.BARE_ARGUMENT: lambda _: invalid_format("expected value at line 1 column 1"),
    FaultKind.UNAUTHENTICATED: lambda _: authentication_failed("emulator"),
    FaultKind.PAYMENT_REQUIRED: lambda _: insufficient_balance(),
    FaultKind.INSUFFICIENT_BALANCE: lambda _: insufficient_balance(),
    FaultKind.UNPROCESSABLE: lambda _: invalid_parameters("messages[0].content: invalid type"),
    FaultKind.MINUTE_QUOTA: lambda _: rate_limited(),
    FaultKind.HEADER_SECONDS: lambda fault: rate_limited(retry_after(fault)),
    FaultKind.HEADER_DATE: lambda fault: rate_limited(retry_after(fault)),
}

_AT_LAST: Mapping[FaultKind, Callable[[], Refused]] = {
    FaultKind.INTERNAL: server_error,
    FaultKind.BAD_GATEWAY: lambda: _refused(502, "Bad Gateway", "service_unavailable_error", "bad_gateway"),
    FaultKind.UNAVAILABLE: overloaded,
}
