"""Reads what a provider says about an error: a google.rpc.Status in JSON, as far as the body is one.

https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
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

_MAX_BODY = 64 * 1024
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderError:
    """An error status and its body; nothing that the body lacks is guessed.

    Attributes:
        status: The HTTP status.
        canonical: The canonical code, as RESOURCE_EXHAUSTED; "" for none.
        message: The provider's message; "" for none.
        reasons: Of the ErrorInfo details.
        quota_ids: Of the violations in the QuotaFailure details.
        retry_seconds: The longest of the RetryInfo and the Retry-After header, None for none; may be negative.
        words: All of it for people, cut.
    """

    status: int
    canonical: str
    message: str
    reasons: frozenset[str]
    quota_ids: frozenset[str]
    retry_seconds: float | None
    words: str


def read(status: int, body: str, *, retry_after: str | None = None, now: datetime.datetime) -> ProviderError:
    """Return what the body and the Retry-After header say. Never raises, whatever they hold.

    Args:
        status: The HTTP status.
        body: Any text.
        retry_after: The header: seconds or a date.
        now: Aware; a date in the header is counted from it.
    """
    body = body[:_MAX_BODY]
    error = _mapping(_mapping(_json(body)).get("error"))
    details = [_mapping(detail) for detail in _list(error.get("details"))]
    violations = [_mapping(violation) for detail in details for violation in _list(detail.get("violations"))]
    canonical, message = _text(error.get("status")), _text(error.get("message"))
    words = message or " ".join(body[:MAX_MESSAGE].split()) or "no message"
    return ProviderError(
        status=status,
        canonical=canonical,
        message=message,
        reasons=frozenset(_text(detail.get("reason")) for detail in details),
        quota_ids=frozenset(_text(violation.get("quotaId")) for violation in violations),
        retry_seconds=_longest(
            *(_duration_seconds(detail.get("retryDelay")) for detail in details), _header_seconds(retry_after, now)
        ),
        words=f"HTTP {status}{' ' + canonical[:64] if canonical else ''}: {words[:MAX_MESSAGE]}",
    )


def _longest(*seconds: float | None) -> float | None:
    return max((each for each in seconds if each is not None and math.isfinite(each)), default=None)


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
