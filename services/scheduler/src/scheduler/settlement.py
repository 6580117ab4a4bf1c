"""What an executor says of an attempt's end, and what that makes of the job and of its lane. Pure."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from policies import prices, retry
from policies.breaker import Health
from scheduler.jobs import AttemptOutcome, JobError, JobState, Stage, Usage
from scheduler.records import AttemptId, AttemptRecord, FinalRecord, ReturnRecord, RunningJob

_PROVIDER_FAILURES = frozenset({"PROVIDER_ERROR", "TIMEOUT"})
_PREPARING = (Stage.STARTING, Stage.FETCHING_IMAGE)
_PAYING = (Stage.GEMINI_ANALYZING, Stage.DEEPSEEK_ANALYZING, Stage.VALIDATING)
_CALLING = (Stage.GEMINI_ANALYZING, Stage.DEEPSEEK_ANALYZING)


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
    """The provider's limit was hit.

    Attributes:
        message: The provider's words.
        retry_after: The provider's own time.
        lane_stop: Why nobody may call the lane until a person has acted; "" if it is only a matter of time.
    """

    message: str
    retry_after: datetime.timedelta | None = None
    lane_stop: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """Goes back without blame."""

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

    @property
    def health(self) -> Health:
        """What it says about the provider."""
        match self.verdict:
            case Succeeded():
                return Health.ANSWERED
            case Failed(error=error) if error.kind in _PROVIDER_FAILURES:
                return Health.FAILED
            case Failed(error=error) if error.kind != "CANCELLED" and any(
                stage in self.stage_seconds for stage in _CALLING
            ):
                return Health.ANSWERED
            case _:
                return Health.UNKNOWN


def settle_success(outcome: Outcome, verdict: Succeeded, *, now: datetime.datetime) -> FinalRecord:
    """Return what a valid answer makes of its job."""
    record = record_of(outcome, now=now)
    return FinalRecord(record=record, state=JobState.SUCCEEDED, output_json=verdict.output_json)


def settle(
    outcome: Outcome,
    verdict: Failed | Throttled | Released,
    running: RunningJob,
    *,
    breaker_closed: bool,
    now: datetime.datetime,
    draw: float,
) -> FinalRecord | ReturnRecord:
    """Return what an end without a valid answer makes of its job.

    Args:
        outcome: The end.
        verdict: Its verdict.
        running: What is known of the job.
        breaker_closed: Whether the lane's breaker was closed until this outcome.
        now: The store's time.
        draw: A random number in [0, 1).
    """
    record = record_of(outcome, now=now)
    decision: retry.TryAgain | retry.GiveUp = retry.TryAgain(None, charged=False)
    if isinstance(verdict, Failed):
        decision = retry.after_failure(
            retryable=verdict.error.retryable,
            retry_count=running.retry_count,
            max_retries=running.max_retries,
            breaker_closed=breaker_closed or outcome.health is not Health.FAILED,
            provider_seconds=None if verdict.retry_after is None else verdict.retry_after.total_seconds(),
            draw=draw,
        )
    if isinstance(decision, retry.GiveUp):
        return FinalRecord(record=record, state=JobState.FAILED)
    return _wait_again(record, running, decision, now=now)


def overdue(attempt_id: AttemptId) -> Outcome:
    """Return what is said of an attempt whose executor should have ended it long ago."""
    message = "The call took longer than its timeout, and its executor did not end it."
    return Outcome(
        attempt_id=attempt_id,
        verdict=Failed(JobError(kind="TIMEOUT", message=message, retryable=True)),
        usage=None,
        model_version="",
        stage_seconds={},
        paid=True,
        traceparent="",
    )


def settle_lost(
    attempt_id: AttemptId, running: RunningJob, reason: str, *, died: bool, now: datetime.datetime
) -> FinalRecord | ReturnRecord:
    """Return what the loss of an attempt makes of its job: it waits again at its old place, and is not charged.

    Args:
        attempt_id: Which attempt.
        running: What is known of the job.
        reason: What happened, for people.
        died: Whether its executor may have died of it.
        now: The store's time.
    """
    record = AttemptRecord(
        attempt_id=attempt_id,
        outcome=AttemptOutcome.LOST,
        finish_time=now,
        error=JobError(kind="LOST", message=reason, retryable=True),
        stage_seconds={},
        # Its call was announced, and may have been billed.
        paid=running.stage in _PAYING,
    )
    suspected = died and running.stage in _PREPARING
    if suspected and running.preparing_deaths + 1 >= retry.MAX_PREPARING_DEATHS:
        message = f"{retry.MAX_PREPARING_DEATHS} executors died while they prepared this job."
        return _failed(record, "POISON", message, session=running.session)
    return _wait_again(
        record,
        running,
        retry.TryAgain(None, charged=False),
        died_preparing=suspected,
        session=running.session,
        now=now,
    )


def settle_withdrawn(
    attempt_id: AttemptId, running: RunningJob, reason: str, *, now: datetime.datetime
) -> FinalRecord | ReturnRecord:
    """Return what becomes of a job whose executor gave the attempt back before its call, as it was asked to."""
    record = AttemptRecord(
        attempt_id=attempt_id,
        outcome=AttemptOutcome.RELEASED,
        finish_time=now,
        error=JobError(kind="RELEASED", message=reason, retryable=True),
        stage_seconds={},
    )
    return _wait_again(record, running, retry.TryAgain(None, charged=False), session=running.session, now=now)


def record_of(outcome: Outcome, *, now: datetime.datetime) -> AttemptRecord:
    """Return what is kept of an attempt."""
    how, error, raw_answer = _said(outcome.verdict)
    return AttemptRecord(
        attempt_id=outcome.attempt_id,
        outcome=how,
        finish_time=now,
        error=error,
        usage=outcome.usage,
        cost_usd=cost_usd(outcome, now.date()),
        model_version=outcome.model_version,
        stage_seconds=outcome.stage_seconds,
        paid=outcome.paid,
        raw_answer=raw_answer,
    )


def _said(verdict: Verdict) -> tuple[AttemptOutcome, JobError | None, str]:
    match verdict:
        case Succeeded():
            return AttemptOutcome.SUCCEEDED, None, ""
        case Failed(error=error, raw_answer=raw_answer):
            return AttemptOutcome.FAILED, error, raw_answer
        case Throttled(message=message):
            return AttemptOutcome.THROTTLED, JobError(kind="THROTTLED", message=message, retryable=True), ""
        case Released(message=message):
            return AttemptOutcome.RELEASED, JobError(kind="RELEASED", message=message, retryable=True), ""
        case _:
            assert_never(verdict)


def _wait_again(
    record: AttemptRecord,
    running: RunningJob,
    decision: retry.TryAgain,
    *,
    now: datetime.datetime,
    died_preparing: bool = False,
    session: int | None = None,
) -> FinalRecord | ReturnRecord:
    """Let the job wait again, unless it may not be called any more."""
    paid_calls = running.paid_calls + record.paid
    if not retry.may_pay_again(paid_calls=paid_calls, max_retries=running.max_retries):
        said = record.error.message if record.error else ""
        message = f"Calls that may have been billed and gave no result: {paid_calls}; the last: {said}"
        return _failed(record, "PAID_CALLS_EXHAUSTED", message, session=session)
    due_time = None
    if decision.after_seconds is not None:
        due_time = now + datetime.timedelta(seconds=decision.after_seconds)
    if running.expire_time is not None and running.expire_time <= (due_time or now):
        return FinalRecord(record=record, state=JobState.EXPIRED, session=session)
    return ReturnRecord(
        record=record, charged=decision.charged, due_time=due_time, died_preparing=died_preparing, session=session
    )


def _failed(record: AttemptRecord, kind: str, message: str, *, session: int | None) -> FinalRecord:
    error = JobError(kind=kind, message=message, retryable=False)
    return FinalRecord(record=record, state=JobState.FAILED, error=error, session=session)


def cost_usd(outcome: Outcome, day: datetime.date) -> float:
    """Return what an attempt cost; 0 where the provider counted nothing."""
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
