"""What the end of an attempt makes of its job. Pure."""

import datetime
from dataclasses import replace

from policies import ladder, retry
from policies.breaker import Health
from policies.ladder import Flaw
from scheduler.jobs import AttemptOutcome, JobError, JobState, Stage
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, record_of
from scheduler.records import AdvanceRecord, AttemptId, AttemptRecord, FinalRecord, ReturnRecord, RunningJob

_PREPARING = (Stage.STARTING, Stage.FETCHING_IMAGE)
_PAYING = (Stage.GEMINI_ANALYZING, Stage.DEEPSEEK_ANALYZING, Stage.VALIDATING)


def settle_success(outcome: Outcome, verdict: Succeeded, *, now: datetime.datetime) -> FinalRecord | AdvanceRecord:
    """Return what a valid answer makes of its job: it brings it to its next step, or ends it after the last one."""
    record = record_of(outcome, now=now)
    if outcome.step < outcome.steps:
        return AdvanceRecord(record=record, output_json=verdict.output_json, step=outcome.step)
    return FinalRecord(record=record, state=JobState.SUCCEEDED, output_json=verdict.output_json, step=outcome.step)


def settle(
    outcome: Outcome,
    verdict: Failed | Throttled | Released,
    running: RunningJob,
    *,
    breaker_closed: bool,
    paid_cap: int = 0,
    now: datetime.datetime,
    draw: float,
) -> FinalRecord | ReturnRecord:
    """Return what an end without a valid answer makes of its job.

    Args:
        outcome: The end.
        verdict: Its verdict.
        running: What is known of the job.
        breaker_closed: Whether the lane's breaker was closed until this outcome.
        paid_cap: How many calls of a step may be paid for; 0 means as many as the retries allow.
        now: The store's time.
        draw: A random number in [0, 1).
    """
    record = record_of(outcome, now=now)
    decision: retry.TryAgain | retry.GiveUp = retry.TryAgain(None, charged=False)
    if isinstance(verdict, Failed):
        if not _ladder_goes_on(verdict, running):
            return FinalRecord(record=record, state=JobState.FAILED, error=_at_the_end_of_the_ladder(verdict))
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
    return _wait_again(record, running, decision, paid_cap=paid_cap, now=now)


def overdue(attempt_id: AttemptId, running: RunningJob) -> Outcome:
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
        step=running.step,
        unanswered=True,
        lane=running.lane,
    )


def settle_lost(
    attempt_id: AttemptId,
    running: RunningJob,
    reason: str,
    *,
    died: bool,
    paid_cap: int = 0,
    now: datetime.datetime,
) -> FinalRecord | ReturnRecord:
    """Return what the loss of an attempt makes of its job: it waits again at its old place, and is not charged.

    Args:
        attempt_id: Which attempt.
        running: What is known of the job.
        reason: What happened, for people.
        died: Whether its executor may have died of it.
        paid_cap: As in `settle`.
        now: The store's time.
    """
    # Its call was announced, and may have been billed.
    called = running.stage in _PAYING
    record = AttemptRecord(
        attempt_id=attempt_id,
        outcome=AttemptOutcome.LOST,
        finish_time=now,
        error=JobError(kind="LOST", message=reason, retryable=True),
        stage_seconds={},
        paid=called,
        unanswered=called,
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
        paid_cap=paid_cap,
        now=now,
    )


def settle_withdrawn(
    attempt_id: AttemptId,
    running: RunningJob,
    reason: str,
    *,
    after: datetime.timedelta | None = None,
    paid_cap: int = 0,
    now: datetime.datetime,
) -> FinalRecord | ReturnRecord:
    """Return what becomes of a job whose attempt came back before its call, as it was asked to, or was never sent.

    Args:
        attempt_id: Which attempt.
        running: What is known of the job.
        reason: What happened, for people.
        after: How long the job waits before its next attempt; None for not at all.
        paid_cap: As in `settle`.
        now: The store's time.
    """
    record = AttemptRecord(
        attempt_id=attempt_id,
        outcome=AttemptOutcome.RELEASED,
        finish_time=now,
        error=JobError(kind="RELEASED", message=reason, retryable=True),
        stage_seconds={},
    )
    decision = retry.TryAgain(None if after is None else after.total_seconds(), charged=False)
    return _wait_again(record, running, decision, session=running.session, paid_cap=paid_cap, now=now)


def _ladder_goes_on(verdict: Failed, running: RunningJob) -> bool:
    """Say whether the flaw of the answer, if it has one, may be met with another call."""
    return not verdict.flaw or ladder.may_try_again([*running.flaws, verdict.flaw])


def _at_the_end_of_the_ladder(verdict: Failed) -> JobError:
    """Return the job's error. An answer that is protected text again and again will not become another one."""
    return replace(verdict.error, retryable=verdict.error.retryable and verdict.flaw != Flaw.RECITATION)


def _wait_again(
    record: AttemptRecord,
    running: RunningJob,
    decision: retry.TryAgain,
    *,
    paid_cap: int,
    now: datetime.datetime,
    died_preparing: bool = False,
    session: int | None = None,
) -> FinalRecord | ReturnRecord:
    """Let the job wait again, unless it may not be called any more."""
    paid_calls = running.paid_calls + record.paid
    if not retry.may_pay_again(paid_calls=paid_calls, max_retries=running.max_retries, cap=paid_cap):
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
