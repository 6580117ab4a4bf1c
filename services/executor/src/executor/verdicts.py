"""What an end without a valid answer is to the job: the failure table of `policies`, read for this executor."""

import datetime
import json
from dataclasses import replace
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
from executor.validation import InvalidOutput
from executor.work import Assignment, Failed, Released, Throttled, Verdict
from policies import answer_failures, provider_failures
from policies.failure_rows import BAD_IMAGE, Row
from policies.ladder import Flaw
from policies.provider_failures import Answer, Fails, Meaning, RefusesExecutor, Throttles
from runtime.redaction import redacted

MAX_RAW_BYTES = 64 * 1024

_LEAST_QUOTED = 8
"""A prompt that is shorter is not looked for in what a provider says: it would be found in ordinary words."""


def of_error(error: ModelError, assignment: Assignment, *, now: datetime.datetime, key: str = "") -> Verdict:
    """Return the verdict of a call that gave no answer.

    Args:
        error: What the call gave.
        assignment: What was asked.
        now: Aware.
        key: The provider's, "" for none; it may have any form, so what repeats it is taken by its value.
    """
    told = (key, *_told(assignment))
    if isinstance(error, ProviderRefused):
        # Before its words are cut, and again when they are read: JSON escapes in many ways.
        body = redacted(error.body, *told)
        meaning = provider_failures.of_status(
            error.status,
            body,
            retry_after=error.retry_after,
            now=now,
            provider=assignment.provider,
            service_tier=assignment.generation.service_tier,
        )
        return _blaming_the_image(_of_meaning(meaning, raw=body, told=told), assignment)
    raw = error.body[:MAX_RAW_BYTES] if isinstance(error, UnreadableAnswer) else ""
    words = redacted(str(error), *told)
    return _failed(provider_failures.fails(_row_of(error), words), raw=redacted(raw, *told))


def of_answer(answer: ModelAnswer, provider: str) -> Failed | None:
    """Return the verdict of a 200 that is no complete answer, None for one that is."""
    fails = provider_failures.of_answer(
        Answer(
            provider=provider,
            has_candidate=answer.has_candidate,
            text=answer.text,
            finish_reason=answer.finish_reason,
            block_reason=answer.block_reason,
        )
    )
    return None if fails is None else _failed(fails, raw=answer.text)


def of_output(error: InvalidOutput, answer: ModelAnswer) -> Failed:
    """Return the verdict of a complete answer that is not what the caller asked for."""
    row = answer_failures.NOT_JSON if error.flaw is Flaw.NOT_JSON else answer_failures.SCHEMA_MISMATCH
    return _failed(provider_failures.fails(row, str(error)), raw=answer.text, output_path=error.path)


def of_interruption(attempt: Attempt) -> Verdict | None:
    """Return the verdict of an attempt that did not come to its own end, None if it goes back as its scheduler wished.

    A call that was cancelled is paid for all the same; one that this executor gave up to stop goes back without blame.
    """
    match attempt.interruption:
        case None if not attempt.call_begun:
            return Released("The images did not come in time.")
        case None:
            return _failed(provider_failures.fails(answer_failures.TIMED_OUT, f"{attempt.timeout_seconds:g} s"))
        case Interruption.CANCELLED if attempt.call_begun:
            return _failed(provider_failures.fails(answer_failures.CALL_CANCELLED, attempt.interruption_message))
        case Interruption.WITHDRAWN if not attempt.call_begun:
            return None
        case Interruption.CANCELLED | Interruption.WITHDRAWN | Interruption.STOPPED | Interruption.EXPIRED:
            return Released(attempt.interruption_message)
        case _:
            assert_never(attempt.interruption)


def cut(raw: str) -> str:
    """Return the provider's words, cut to 64 KiB."""
    # Slicing first bounds the work: no character takes less than a byte.
    return raw[:MAX_RAW_BYTES].encode(errors="replace")[:MAX_RAW_BYTES].decode(errors="ignore")


def _row_of(error: ModelError) -> Row:
    match error:
        case NotConnected():
            return answer_failures.NOT_CONNECTED
        case ConnectionBroken():
            return answer_failures.CONNECTION_BROKEN
        case UnreadableAnswer():
            return answer_failures.UNREADABLE
        case UnsendableRequest():
            return answer_failures.UNSENDABLE
        case _:
            raise TypeError(f"{type(error).__name__} is no known ModelError.")


def _blaming_the_image(verdict: Verdict, assignment: Assignment) -> Verdict:
    """Return a refusal of an image with the image: a provider does not say which one, so it is known of a single one only."""
    sent = {image.sha256 for image in assignment.images}
    if isinstance(verdict, Failed) and verdict.kind == BAD_IMAGE and len(sent) == 1:
        return replace(verdict, image_sha256=sent.pop())
    return verdict


def _of_meaning(meaning: Meaning, *, raw: str, told: tuple[str, ...]) -> Verdict:
    message = redacted(meaning.message, *told)
    match meaning:
        case Fails():
            return _failed(replace(meaning, message=message), raw=raw)
        case Throttles(retry_after_seconds=seconds, lane_stop=lane_stop):
            return Throttled(message=message, retry_after=_timedelta(seconds), lane_stop=redacted(lane_stop, *told))
        case RefusesExecutor():
            return Released(message)
        case _:
            assert_never(meaning)


def _failed(fails: Fails, *, raw: str = "", output_path: str = "") -> Failed:
    return Failed(
        kind=fails.kind,
        message=fails.message,
        retryable=fails.retryable,
        raw_answer=redacted(cut(raw)),
        retry_after=_timedelta(fails.retry_after_seconds),
        flaw=fails.flaw,
        output_path=output_path,
        schema_suspected=fails.schema_suspected,
    )


def _told(assignment: Assignment) -> tuple[str, ...]:
    """Return what the provider was told, as it is and as JSON has it: it must not come back in logs and spans."""
    texts = (assignment.prompt, assignment.system_instruction, assignment.input_json)
    long = [text for text in texts if len(text) >= _LEAST_QUOTED]
    escaped = [json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in long for ascii_only in (True, False)]
    return (*long, *escaped)


def _timedelta(seconds: float | None) -> datetime.timedelta | None:
    return None if seconds is None else datetime.timedelta(seconds=seconds)
