"""What an executor says of an attempt's end, and what that makes of the job. Pure."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from policies import prices, retry
from scheduler.jobs import AttemptOutcome, JobError, JobState, Stage, Usage
from scheduler.ports import AttemptId, AttemptRecord, FinalRecord, ReturnRecord, RunningJob


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A valid answer."""

    output_json: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No valid answer. `retry_after` is the provider's own time."""

    error: JobError
    raw_answer: str = ""
    retry_after: datetime.timedelta | None = None


@dataclass(frozen=True, slots=True)
class Throttled:
    """The provider's limit was hit. `retry_after` is the provider's own time."""

    message: str
    retry_after: datetime.timedelta | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Not begun; goes back unspent."""

    message: str


Verdict = Succeeded | Failed | Throttled | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended, as its executor tells it."""

    attempt_id: AttemptId
    verdict: Verdict
    usage: Usage | None
    model_version: str
    stage_seconds: Mapping[Stage, float]
    paid: bool
    traceparent: str


def settle_success(outcome: Outcome, verdict: Succeeded, *, now: datetime.datetime) -> FinalRecord:
    """Return what a valid answer makes of its job."""
    record = _record(outcome, AttemptOutcome.SUCCEEDED, None, now)
    return FinalRecord(record=record, state=JobState.SUCCEEDED, output_json=verdict.output_json)


def settle(
    outcome: Outcome,
    verdict: Failed | Throttled | Released,
    running: RunningJob,
    *,
    now: datetime.datetime,
    draw: float,
) -> FinalRecord | ReturnRecord:
    """Return what an end without a valid answer makes of its job.

    Args:
        outcome: The end.
        verdict: Its verdict.
        running: What is known of the job.
        now: The store's time.
        draw: A random number in [0, 1).
    """
    match verdict:
        case Failed(error=error, raw_answer=raw_answer, retry_after=retry_after):
            record = _record(outcome, AttemptOutcome.FAILED, error, now, raw_answer)
            decision = retry.after_failure(
                retryable=error.retryable,
                retry_count=running.retry_count,
                max_retries=running.max_retries,
                provider_seconds=_seconds(retry_after),
                draw=draw,
            )
            if isinstance(decision, retry.GiveUp):
                return FinalRecord(record=record, state=JobState.FAILED)
        case Throttled(message=message, retry_after=retry_after):
            error = JobError(kind="THROTTLED", message=message, retryable=True)
            record = _record(outcome, AttemptOutcome.THROTTLED, error, now)
            decision = retry.after_throttling(provider_seconds=_seconds(retry_after), throttle_count=0, draw=draw)
        case Released(message=message):
            error = JobError(kind="RELEASED", message=message, retryable=True)
            record = _record(outcome, AttemptOutcome.RELEASED, error, now)
            return ReturnRecord(record=record, charged=False, due_time=None)
        case _:
            assert_never(verdict)
    due_time = now + datetime.timedelta(seconds=decision.after_seconds)
    return ReturnRecord(record=record, charged=decision.charged, due_time=due_time)


def settle_lost(attempt_id: AttemptId, reason: str, *, now: datetime.datetime) -> ReturnRecord:
    """Return what the loss of its executor makes of a job: it waits again at its old place, and is not charged."""
    record = AttemptRecord(
        attempt_id=attempt_id,
        outcome=AttemptOutcome.LOST,
        finish_time=now,
        error=JobError(kind="LOST", message=reason, retryable=True),
        stage_seconds={},
    )
    return ReturnRecord(record=record, charged=False, due_time=None)


def _record(
    outcome: Outcome,
    how: AttemptOutcome,
    error: JobError | None,
    now: datetime.datetime,
    raw_answer: str = "",
) -> AttemptRecord:
    return AttemptRecord(
        attempt_id=outcome.attempt_id,
        outcome=how,
        finish_time=now,
        error=error,
        usage=outcome.usage,
        cost_usd=_cost_usd(outcome, now.date()),
        model_version=outcome.model_version,
        stage_seconds=outcome.stage_seconds,
        paid=outcome.paid,
        raw_answer=raw_answer,
    )


def _cost_usd(outcome: Outcome, day: datetime.date) -> float:
    if outcome.usage is None:
        return 0.0
    return prices.cost_usd(
        outcome.model_version,
        input_tokens=outcome.usage.input_tokens,
        output_tokens=outcome.usage.output_tokens,
        thinking_tokens=outcome.usage.thinking_tokens,
        cached_tokens=outcome.usage.cached_tokens,
        day=day,
    )


def _seconds(time: datetime.timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()
