"""What an answer of Gemini that is no result means for the attempt: one table for error statuses, one for endings.

The first row that fits decides. Sources: the error table of the Gemini API's documentation, and what its users report;
a status or an ending that no row names falls to the last row of its kind.
"""

import datetime
import email.utils
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_MESSAGE = 1_000
"""Characters of the provider's words that a message keeps."""

MAX_RETRY_SECONDS = 30 * 86_400.0
"""A longer wait than this is not a wait."""

_MAX_BODY = 64 * 1024
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """The attempt failed.

    Attributes:
        kind: UPPER_SNAKE, of an open set.
        message: For people.
        retryable: Whether the same job may succeed later.
        retry_after_seconds: The provider's own time, if it named one.
    """

    kind: str
    message: str
    retryable: bool
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttles:
    """A limit of the provider was hit; attributes as in `Fails`."""

    message: str
    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusesExecutor:
    """The key, its project or the place is at fault: a condition of the executor, not of the job."""

    message: str


Meaning = Fails | Throttles | RefusesExecutor

_THROTTLED = "THROTTLED"
_REFUSED = "REFUSED"
_PROVIDER_ERROR = "PROVIDER_ERROR"
_BAD_REQUEST = "BAD_REQUEST"
_BAD_IMAGE = "BAD_IMAGE"
_RETRYABLE = frozenset({_PROVIDER_ERROR})

_IMAGE_WORDS = ("input image", "provided image", "image is not valid", "image format", "unsupported mime type")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Fits a status in [first, last], with the canonical status, ErrorInfo reason and one of the words if they are given."""

    first: int
    last: int
    meaning: str
    canonical: str = ""
    reason: str = ""
    words: tuple[str, ...] = ()

    def fits(self, error: "_Error") -> bool:
        return (
            self.first <= error.status <= self.last
            and self.canonical in ("", error.canonical)
            and (not self.reason or self.reason in error.reasons)
            and (not self.words or any(word in error.message.lower() for word in self.words))
        )


_STATUSES = (
    _Row(first=429, last=429, meaning=_THROTTLED),
    # Prepaid credit is used up; documented as 402, in the field also a 429.
    _Row(first=402, last=402, meaning=_THROTTLED),
    # A bad key is a 400 here, not a 401.
    _Row(first=400, last=400, reason="API_KEY_INVALID", meaning=_REFUSED),
    # "User location is not supported for the API use."
    _Row(first=400, last=400, canonical="FAILED_PRECONDITION", meaning=_REFUSED),
    _Row(first=401, last=401, meaning=_REFUSED),
    _Row(first=403, last=403, meaning=_REFUSED),
    _Row(first=400, last=400, words=_IMAGE_WORDS, meaning=_BAD_IMAGE),
    _Row(first=408, last=408, meaning=_PROVIDER_ERROR),
    _Row(first=499, last=499, meaning=_PROVIDER_ERROR),
    # 404 is a model that does not exist, or does not exist any more.
    _Row(first=400, last=498, meaning=_BAD_REQUEST),
    _Row(first=0, last=10_000, meaning=_PROVIDER_ERROR),
)

_BLOCKED = "BLOCKED"
_UNUSABLE = "INVALID_OUTPUT"

# https://ai.google.dev/api/generate-content#FinishReason; an ending that is not listed is UNUSABLE.
_ENDINGS = {
    "SAFETY": _BLOCKED,
    "BLOCKLIST": _BLOCKED,
    "PROHIBITED_CONTENT": _BLOCKED,
    "SPII": _BLOCKED,
    "IMAGE_SAFETY": _BLOCKED,
    "IMAGE_PROHIBITED_CONTENT": _BLOCKED,
    "MODEL_ARMOR": _BLOCKED,
}
_COMPLETE = ("STOP", "FINISH_REASON_UNSPECIFIED", "")

_ENDING_MESSAGES = {
    "MAX_TOKENS": "The answer was cut off: it reached the limit of output tokens, thinking included.",
    "RECITATION": "The answer was withheld: it repeats protected text.",
}


def of_status(status: int, body: str, *, retry_after: str | None, now: datetime.datetime) -> Meaning:
    """Return what an error status means. Never raises, whatever the body holds.

    Args:
        status: The HTTP status, not 200.
        body: The answer's body; any text.
        retry_after: The Retry-After header: seconds or a date.
        now: Aware; a date in the header is counted from it.
    """
    error = _Error.read(status, body[:_MAX_BODY])
    meaning = next(row.meaning for row in _STATUSES if row.fits(error))
    seconds = _longest(error.retry_seconds, _header_seconds(retry_after, now))
    if meaning == _THROTTLED:
        return Throttles(message=error.words, retry_after_seconds=seconds)
    if meaning == _REFUSED:
        return RefusesExecutor(message=error.words)
    return Fails(kind=meaning, message=error.words, retryable=meaning in _RETRYABLE, retry_after_seconds=seconds)


def of_answer(*, block_reason: str, finish_reason: str, has_text: bool) -> Fails | None:
    """Return what is wrong with a 200, or None if its text is a complete answer.

    Args:
        block_reason: The prompt feedback's; "" for none.
        finish_reason: The first candidate's; "" for none.
        has_text: Whether the first candidate has text.
    """
    if block_reason:
        return Fails(kind=_BLOCKED, message=f"The provider blocked the request: {block_reason}.", retryable=False)
    if finish_reason not in _COMPLETE:
        kind = _ENDINGS.get(finish_reason, _UNUSABLE)
        default = f"The answer ended with {finish_reason[:64]}."
        return Fails(kind=kind, message=_ENDING_MESSAGES.get(finish_reason, default), retryable=kind == _UNUSABLE)
    if not has_text:
        return Fails(kind=_UNUSABLE, message="The answer is empty.", retryable=True)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Error:
    """A google.rpc.Status in JSON, as far as the body is one."""

    status: int
    canonical: str
    message: str
    reasons: frozenset[str]
    retry_seconds: float | None
    words: str

    @classmethod
    def read(cls, status: int, body: str) -> "_Error":
        error = _mapping(_mapping(_json(body)).get("error"))
        details = [_mapping(detail) for detail in _list(error.get("details"))]
        canonical, message = _text(error.get("status")), _text(error.get("message"))
        words = message or " ".join(body[:MAX_MESSAGE].split()) or "no message"
        return cls(
            status=status,
            canonical=canonical,
            message=message,
            reasons=frozenset(_text(detail.get("reason")) for detail in details),
            retry_seconds=_longest(*(_duration_seconds(detail.get("retryDelay")) for detail in details)),
            words=f"HTTP {status}{' ' + canonical[:64] if canonical else ''}: {words[:MAX_MESSAGE]}",
        )


def _json(body: str) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    # On some paths an error comes as a list of one.
    return document[0] if isinstance(document, list) and len(document) == 1 else document


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _duration_seconds(value: object) -> float | None:
    """Return the seconds of a Duration in JSON: "26s", "600.5s"."""
    found = _DURATION.fullmatch(_text(value))
    return float(found[1]) if found else None


def _header_seconds(value: str | None, now: datetime.datetime) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        return float(value)
    except ValueError:
        pass
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return (aware - now).total_seconds()


def _longest(*seconds: float | None) -> float | None:
    known = [each for each in seconds if each is not None and math.isfinite(each)]
    return min(max(0.0, *known), MAX_RETRY_SECONDS) if known else None
