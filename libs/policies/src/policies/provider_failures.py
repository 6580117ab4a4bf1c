"""What an answer of Gemini that is no result means for the attempt: one table for error statuses, one for endings.

The first row that fits decides. Sources: the error table of the Gemini API's documentation, and what its users report;
a status or an ending that no row names falls to the last row of its kind.
"""

import datetime
import email.utils
from dataclasses import dataclass

from policies import provider_error, quota
from policies.provider_error import ProviderError

MAX_RETRY_SECONDS = 30 * 86_400.0
"""A longer wait than this is not a wait."""

_TOO_MANY_REQUESTS = 429
_PER_DAY = "PerDay"


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
    """Nobody may call for a while, whatever the job: it goes back unspent. Other attributes as in `Fails`.

    Attributes:
        lane_stop: Why nobody may call until a person has acted, as a sentence; "" if only time has to pass.
    """

    message: str
    retry_after_seconds: float | None
    lane_stop: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusesExecutor:
    """The key, its project or the place is at fault: a condition of the executor, not of the job."""

    message: str


Meaning = Fails | Throttles | RefusesExecutor

_THROTTLED = "THROTTLED"
_DEPLETED = "DEPLETED"
_RETIRED = "RETIRED"
_REFUSED = "REFUSED"
_PROVIDER_ERROR = "PROVIDER_ERROR"
_BAD_REQUEST = "BAD_REQUEST"
_BAD_IMAGE = "BAD_IMAGE"
_RETRYABLE = frozenset({_PROVIDER_ERROR})
_LANE_STOPS = {
    _THROTTLED: "",
    _DEPLETED: "Billing of the provider's account is depleted: {words}",
    _RETIRED: "The provider does not offer the model any more: {words}",
}

# "check your plan and billing details" is said of every limit, so the word billing alone says nothing.
_DEPLETED_WORDS = ("credits are depleted", "prepayment credit", "prepaid credit", "monthly spending cap")
_RETIRED_WORDS = ("is not found for api version", "no longer available")
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

    def fits(self, error: ProviderError) -> bool:
        return (
            self.first <= error.status <= self.last
            and self.canonical in ("", error.canonical)
            and (not self.reason or self.reason in error.reasons)
            and (not self.words or any(word in error.message.lower() for word in self.words))
        )


_STATUSES = (
    # Prepaid credit is used up; documented as 402, in the field also a 429.
    _Row(first=402, last=402, meaning=_DEPLETED),
    _Row(first=429, last=429, words=_DEPLETED_WORDS, meaning=_DEPLETED),
    _Row(first=429, last=429, meaning=_THROTTLED),
    # A bad key is a 400 here, not a 401.
    _Row(first=400, last=400, reason="API_KEY_INVALID", meaning=_REFUSED),
    # "User location is not supported for the API use."
    _Row(first=400, last=400, canonical="FAILED_PRECONDITION", meaning=_REFUSED),
    _Row(first=401, last=401, meaning=_REFUSED),
    _Row(first=403, last=403, meaning=_REFUSED),
    _Row(first=404, last=404, words=_RETIRED_WORDS, meaning=_RETIRED),
    _Row(first=400, last=400, words=_IMAGE_WORDS, meaning=_BAD_IMAGE),
    _Row(first=408, last=408, meaning=_PROVIDER_ERROR),
    _Row(first=499, last=499, meaning=_PROVIDER_ERROR),
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
        now: Aware; a date in the header, and the end of a daily quota, are counted from it.
    """
    error = provider_error.read(status, body)
    meaning = next(row.meaning for row in _STATUSES if row.fits(error))
    seconds = _retry_seconds(error, retry_after, now)
    if meaning in _LANE_STOPS:
        lane_stop = _LANE_STOPS[meaning].format(words=error.words)
        return Throttles(message=error.words, retry_after_seconds=seconds, lane_stop=lane_stop)
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


def _retry_seconds(error: ProviderError, header: str | None, now: datetime.datetime) -> float | None:
    if error.status == _TOO_MANY_REQUESTS and any(_PER_DAY in quota_id for quota_id in error.quota_ids):
        # What the provider itself says of such a limit, as "18s", is the time of another one.
        return (quota.end_of_day(now) - now).total_seconds()
    seconds = provider_error.longest(error.retry_seconds, _header_seconds(header, now))
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_SECONDS)


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
