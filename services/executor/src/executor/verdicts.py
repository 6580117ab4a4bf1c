"""What an end without a valid answer is to the job."""

import datetime
from typing import assert_never

from executor.attempt import Attempt, Interruption
from executor.ports import (
    ConnectionBroken,
    ModelAnswer,
    ModelError,
    NotConnected,
    ProviderRefused,
    UnreadableAnswer,
    UnsendableRequest,
)
from executor.work import Failed, Released, Throttled, Verdict
from policies import provider_failures
from policies.provider_failures import Fails, Meaning, RefusesExecutor, Throttles

MAX_RAW_BYTES = 64 * 1024


def of_error(error: ModelError, *, now: datetime.datetime) -> Verdict:
    """Return the verdict of a call that gave no answer."""
    match error:
        case ProviderRefused(status=status, body=body, retry_after=retry_after):
            meaning = provider_failures.of_status(status, body, retry_after=retry_after, now=now)
            return _of_meaning(meaning, raw=body)
        case NotConnected() | ConnectionBroken():
            return Failed(kind="PROVIDER_ERROR", message=str(error), retryable=True)
        case UnreadableAnswer(body=body):
            return invalid_output(str(error), raw=body)
        case UnsendableRequest():
            return Failed(kind="BAD_REQUEST", message=str(error), retryable=False)
        case _:
            raise TypeError(f"{type(error).__name__} is no known ModelError.")


def of_answer(answer: ModelAnswer) -> Failed | None:
    """Return the verdict of a 200 that is no complete answer, None for one that is."""
    fails = provider_failures.of_answer(
        block_reason=answer.block_reason, finish_reason=answer.finish_reason, has_text=bool(answer.text)
    )
    return None if fails is None else _failed(fails, raw=answer.text)


def of_interruption(attempt: Attempt) -> Verdict | None:
    """Return the verdict of an attempt that did not come to its own end, None if it goes back as its scheduler wished.

    A call that was cancelled is paid for all the same; one that this executor gave up to stop goes back without blame.
    """
    match attempt.interruption:
        case None if not attempt.call_begun:
            return Released("The images did not come in time.")
        case None:
            message = f"The attempt took longer than {attempt.timeout_seconds:g} s."
            return Failed(kind="TIMEOUT", message=message, retryable=True)
        case Interruption.CANCELLED if attempt.call_begun:
            return Failed(kind="CANCELLED", message=attempt.interruption_message, retryable=True)
        case Interruption.WITHDRAWN if not attempt.call_begun:
            return None
        case Interruption.CANCELLED | Interruption.WITHDRAWN | Interruption.STOPPED | Interruption.EXPIRED:
            return Released(attempt.interruption_message)
        case _:
            assert_never(attempt.interruption)


def invalid_output(message: str, *, raw: str) -> Failed:
    """Return the verdict of an answer that cannot be used."""
    return Failed(kind="INVALID_OUTPUT", message=message, retryable=True, raw_answer=cut(raw))


def cut(raw: str) -> str:
    """Return the provider's words, cut to 64 KiB."""
    # Slicing first bounds the work: no character takes less than a byte.
    return raw[:MAX_RAW_BYTES].encode(errors="replace")[:MAX_RAW_BYTES].decode(errors="ignore")


def _of_meaning(meaning: Meaning, *, raw: str) -> Verdict:
    match meaning:
        case Fails():
            return _failed(meaning, raw=raw)
        case Throttles(message=message, retry_after_seconds=seconds, lane_stop=lane_stop):
            return Throttled(message=message, retry_after=_timedelta(seconds), lane_stop=lane_stop)
        case RefusesExecutor(message=message):
            return Released(f"The provider refuses this executor: {message}")
        case _:
            assert_never(meaning)


def _failed(fails: Fails, *, raw: str) -> Failed:
    return Failed(
        kind=fails.kind,
        message=fails.message,
        retryable=fails.retryable,
        raw_answer=cut(raw),
        retry_after=_timedelta(fails.retry_after_seconds),
    )


def _timedelta(seconds: float | None) -> datetime.timedelta | None:
    return None if seconds is None else datetime.timedelta(seconds=seconds)
