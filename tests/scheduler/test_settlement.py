import datetime

import pytest

from scheduler.jobs import AttemptOutcome, JobError, JobState, Usage
from scheduler.ports import AttemptId, FinalRecord, ReturnRecord, RunningJob
from scheduler.settlement import Failed, Outcome, Released, Succeeded, Throttled, Verdict, settle, settle_lost
from scheduler.settlement import settle_success as success

NOW = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
ATTEMPT = AttemptId("01990000-0000-7000-8000-000000000000", 2)
RETRYABLE = JobError(kind="PROVIDER_ERROR", message="503", retryable=True)


def outcome(verdict: Verdict, usage: Usage | None = None) -> Outcome:
    return Outcome(
        attempt_id=ATTEMPT,
        verdict=verdict,
        usage=usage,
        model_version="gemini-3.8-flash",
        stage_seconds={},
        paid=usage is not None,
        traceparent="",
    )


def settled(verdict: Failed | Throttled | Released, *, retry_count: int = 0) -> FinalRecord | ReturnRecord:
    running = RunningJob("gemini/gemini-3.8-flash", retry_count, 3)
    return settle(outcome(verdict), verdict, running, now=NOW, draw=0.0)


def test_a_success_ends_the_job_and_costs_what_its_tokens_cost() -> None:
    verdict = Succeeded('{"a":1}')

    final = success(outcome(verdict, Usage(input_tokens=1_000_000)), verdict, now=NOW)

    assert final.state is JobState.SUCCEEDED
    assert final.output_json == '{"a":1}'
    assert final.record.cost_usd == pytest.approx(0.75)


def test_a_retryable_failure_is_charged_and_waits() -> None:
    back = settled(Failed(RETRYABLE), retry_count=1)

    assert isinstance(back, ReturnRecord)
    assert back.charged
    assert back.due_time == NOW + datetime.timedelta(seconds=2)
    assert back.record.error == RETRYABLE


def test_a_failure_after_the_last_retry_ends_the_job() -> None:
    final = settled(Failed(RETRYABLE), retry_count=3)

    assert isinstance(final, FinalRecord)
    assert final.state is JobState.FAILED
    assert final.record.outcome is AttemptOutcome.FAILED


def test_the_providers_time_is_never_undercut() -> None:
    back = settled(Failed(RETRYABLE, retry_after=datetime.timedelta(seconds=90)))

    assert isinstance(back, ReturnRecord)
    assert back.due_time == NOW + datetime.timedelta(seconds=90)


def test_a_throttled_attempt_is_not_charged() -> None:
    back = settled(Throttled("quota", datetime.timedelta(seconds=26)))

    assert isinstance(back, ReturnRecord)
    assert not back.charged
    assert back.due_time == NOW + datetime.timedelta(seconds=26)
    assert back.record.outcome is AttemptOutcome.THROTTLED


def test_a_released_attempt_goes_back_at_once_and_unspent() -> None:
    back = settled(Released("draining"))

    assert isinstance(back, ReturnRecord)
    assert not back.charged
    assert back.due_time is None


def test_a_lost_attempt_goes_back_at_once_and_unspent() -> None:
    back = settle_lost(ATTEMPT, "Its executor was lost.", now=NOW)

    assert not back.charged
    assert back.due_time is None
    assert back.record.outcome is AttemptOutcome.LOST
