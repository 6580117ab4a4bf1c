"""What a call that gave no valid answer means for its attempt, its lane and its executor: one table decides.

`TABLE` has a row for every way to end; everything else here finds the row, or reads it.
"""

import datetime
from dataclasses import dataclass

from policies import answer_failures as answers
from policies import provider_error, quota, repetition
from policies.answer_failures import ANSWER_ROWS, TRANSPORT_ROWS
from policies.breaker import Health
from policies.failure_rows import (
    CANCELLED,
    DEEPSEEK,
    PROVIDER_ERROR,
    RELEASED,
    SHED,
    THROTTLED,
    TIMEOUT,
    LaneEffect,
    Row,
)
from policies.provider_error import ProviderError
from policies.status_failures import STATUS_ROWS

MAX_RETRY_SECONDS = 30 * 86_400.0
"""A longer wait than this is not a wait."""

MAX_TEXT = 512 * 1024
"""Characters of an answer; at 8 for each of them, more than the 65,536 output tokens that a model gives at most."""

TABLE = (*STATUS_ROWS, *TRANSPORT_ROWS, *ANSWER_ROWS)
"""Every way in which a call can end without a valid answer."""

_PROVIDER_FAILS = frozenset({PROVIDER_ERROR, TIMEOUT})
_NEUTRAL = frozenset({SHED, CANCELLED, THROTTLED, RELEASED})
_MAX_ENDING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Fails:
    """The attempt failed. Attributes as in `Row`, its message with the provider's words.

    Attributes:
        retry_after_seconds: The provider's own time, if it named one.
        flaw: As `ladder.Flaw`; "" for none.
    """

    kind: str
    message: str
    retryable: bool
    retry_after_seconds: float | None = None
    flaw: str = ""
    schema_suspected: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a 200 says of itself.

    Attributes:
        provider: Who said it.
        has_candidate: Whether there is an answer at all, however it ended.
        text: Without thoughts.
        finish_reason: In the provider's words; "" for none.
        block_reason: Why the request was blocked; "" if it was not.
    """

    provider: str
    has_candidate: bool
    text: str
    finish_reason: str
    block_reason: str = ""


def health_of(kind: str, *, called: bool) -> Health:
    """Return what a failure says about the provider.

    Args:
        kind: Of the failure; the scheduler's own kinds, and unknown ones, may be asked for too.
        called: Whether the provider was called.
    """
    if kind in _PROVIDER_FAILS:
        return Health.FAILED
    return Health.ANSWERED if called and kind not in _NEUTRAL else Health.UNKNOWN


def of_status(
    status: int,
    body: str,
    *,
    retry_after: str | None,
    now: datetime.datetime,
    provider: str,
    service_tier: str = "",
) -> Meaning:
    """Return what an error status means. Never raises, whatever the body holds.

    Args:
        status: The HTTP status, not 200.
        body: The answer's body; any text.
        retry_after: The Retry-After header: seconds or a date.
        now: Aware; a date in the header, and the end of a daily quota, are counted from it.
        provider: Who answered.
        service_tier: In which the call was made; "" for the standard one.
    """
    error = provider_error.read(status, body, retry_after=retry_after, now=now)
    row = row_of_status(error, provider=provider, service_tier=service_tier)
    return meaning_of(row, error.words, retry_after_seconds=_seconds(row, error, now))


def row_of_status(error: ProviderError, *, provider: str, service_tier: str = "") -> Row:
    """Return the row of an error status."""
    tier = service_tier.upper()
    return next(row for row in STATUS_ROWS if row.fits(error, provider=provider, service_tier=tier))


def of_answer(answer: Answer) -> Fails | None:
    """Return what is wrong with a 200, or None if its text is a complete answer."""
    row = row_of_answer(answer)
    return None if row is None else fails(row, (answer.finish_reason or answer.block_reason)[:_MAX_ENDING])


def row_of_answer(answer: Answer) -> Row | None:
    """Return the row of a 200, or None if its text is a complete answer. The order is the table's."""
    text = answer.text
    blank = not text or text.isspace()
    if answer.block_reason and blank:
        return answers.BLOCKED_PROMPT
    if not answer.has_candidate:
        return answers.EMPTY
    if answer.finish_reason in answers.LIMITED:
        return answers.LOOPING if repetition.ends_in_loop(text) else answers.TRUNCATED
    if answer.finish_reason not in answers.COMPLETE:
        return answers.OTHER_ENDINGS.get(answer.finish_reason, answers.UNFINISHED)
    if blank:
        return answers.BLANK if answer.provider == DEEPSEEK else answers.NO_TEXT
    return answers.TOO_LONG if len(text) > MAX_TEXT else None


def meaning_of(row: Row, words: str, *, retry_after_seconds: float | None = None) -> Meaning:
    """Return what a row means for an attempt whose provider said these words."""
    if row.kind == THROTTLED:
        lane_stop = row.stop.format(words=words)
        return Throttles(
            message=row.message.format(words=words), retry_after_seconds=retry_after_seconds, lane_stop=lane_stop
        )
    if row.refuses_executor:
        return RefusesExecutor(message=row.message.format(words=words))
    return fails(row, words, retry_after_seconds=retry_after_seconds)


def fails(row: Row, words: str = "", *, retry_after_seconds: float | None = None) -> Fails:
    """Return the failure that a row stands for."""
    return Fails(
        kind=row.kind,
        message=row.message.format(words=words),
        retryable=row.retryable,
        retry_after_seconds=retry_after_seconds,
        flaw=row.flaw or "",
        schema_suspected=row.schema_suspected,
    )


def _seconds(row: Row, error: ProviderError, now: datetime.datetime) -> float | None:
    if row.lane is LaneEffect.DAY:
        return (quota.end_of_day(now) - now).total_seconds()
    seconds = error.retry_seconds
    return None if seconds is None else min(max(0.0, seconds), MAX_RETRY_SECONDS)
