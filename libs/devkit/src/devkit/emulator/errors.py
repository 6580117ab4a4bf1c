"""What Gemini refuses, in its own words: HTTP status, canonical code, message and details.

The texts are the real server's as far as they are known. It tells nothing with "Request contains an invalid argument.";
the emulator keeps that message, and says why in a DebugInfo detail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devkit.emulator.refused import Refused

RPC = "type.googleapis.com/google.rpc."
_TROUBLESHOOTING = "https://developers.generativeai.google/guide/troubleshooting"


class ApiError(Refused):
    """A call is refused, and not billed.

    Attributes:
        code: The HTTP status.
        status: The canonical name of google.rpc.Code.
        message: For people, and for clients that cannot do better than match it.
        details: The google.rpc details, as JSON.
    """

    def __init__(
        self,
        code: int,
        status: str,
        message: str,
        details: Sequence[Mapping[str, object]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        error: dict[str, object] = {"code": code, "message": message, "status": status}
        if details:
            error["details"] = list(details)
        super().__init__(code, {"error": error}, headers)
        self.status = status
        self.message = message
        self.details = tuple(details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong with a body; `field` is the path in the names of the proto, "" is the root."""

    field: str
    description: str


def invalid_api_key() -> ApiError:
    message = "API key not valid. Please pass a valid API key."
    reason = {
        "@type": f"{RPC}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return _invalid(message, reason, {"@type": f"{RPC}LocalizedMessage", "locale": "en-US", "message": message})


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
        {"@type": f"{RPC}BadRequest", "fieldViolations": found},
    )


def malformed_json(reason: str) -> ApiError:
    return _invalid(f"Invalid JSON payload received. {reason}")


def invalid_request(path: str, problem: str) -> ApiError:
    """Return the refusal of a sound message that asks for what cannot be; `path` is in the names of the proto."""
    return _invalid(f"* GenerateContentRequest.{path}: {problem}\n")


def invalid_argument(reason: str) -> ApiError:
    """Return the refusal that tells nothing; the reason is the emulator's addition."""
    return _invalid(
        "Request contains an invalid argument.", {"@type": f"{RPC}DebugInfo", "detail": f"emulator: {reason}"}
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


def unavailable() -> ApiError:
    return ApiError(503, "UNAVAILABLE", "The service is currently unavailable.")


def not_emulated(what: str) -> ApiError:
    """Return the refusal of what Gemini can do and the emulator cannot: better than an answer that pretends."""
    return ApiError(501, "UNIMPLEMENTED", f"The emulator does not emulate {what}.")


def _invalid(message: str, *details: Mapping[str, object]) -> ApiError:
    return ApiError(400, "INVALID_ARGUMENT", message, details)
