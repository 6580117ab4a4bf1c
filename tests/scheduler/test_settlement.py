import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.breaker import Health
from policies.ladder import MOST_RETRIES, Flaw
from scheduler.jobs import AttemptOutcome, JobError, JobState, Stage, Usage
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, Verdict
from scheduler.records import AdvanceRecord, AttemptId, FinalRecord, ReturnRecord, RunningJob
from scheduler.settlement import overdue, settle, settle_lost, settle_success, settle_withdrawn

NOW = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
ATTEMPT = AttemptId("01990000-0000-7000-8000-000000000000", 2)
SECOND = datetime.timedelta(seconds=1)

PROVIDER_ERROR = JobError(kind="PROVIDER_ERROR", message="503", retryable=True)
TIMEOUT = JobError(kind="TIMEOUT", message="It took longer than 300 s.", retryable=True)
INVALID_OUTPUT = JobError(kind="INVALID_OUTPUT", message="It is no JSON.", retryable=True)
IMAGE_UNAVAILABLE = JobError(kind="IMAGE_UNAVAILABLE", message="It was not found.", retryable=True)
CANCELLED = JobError(kind="CANCELLED", message="An operator wished so.", retryable=True)
BAD_IMAGE = JobError(kind="BAD_IMAGE", message="It is cut off.", retryable=False)
BAD_REQUEST = JobError(kind="BAD_REQUEST", message="400", retryable=False)
BLOCKED = JobError(kind="BLOCKED", message="Safety.", retryable=False)
SHED = JobError(kind="SHED", message="The flex tier is full.", retryable=True)

CALLED = {Stage.FETCHING_IMAGE: 0.1, Stage.GEMINI_ANALYZING: 2.0}
NOT_CALLED = {Stage.FETCHING_IMAGE: 0.1}

retryable_errors = st.sampled_from([PROVIDER_ERROR, TIMEOUT, INVALID_OUTPUT, IMAGE_UNAVAILABLE, SHED])
other_errors = st.sampled_from([BAD_IMAGE, BAD_REQUEST, BLOCKED])
maxima = st.integers(0, 10)
draws = st.floats(0, 1, exclude_max=True)
spans = st.integers(-100, 100).map(lambda seconds: seconds * SECOND)
retry_afters = st.none() | st.integers(0, 100).map(lambda seconds: seconds * SECOND)


def outcome(
    verdict: Verdict,
    *,
    usage: Usage | None = None,
    stage_seconds: Mapping[Stage, float] = CALLED,
    paid: bool = False,
    **changes: Any,
) -> Outcome:
    fields: dict[str, Any] = {"model_version": "gemini-3.8-flash", "lane": "gemini/gemini-3.8-flash"} | changes
    return Outcome(
        attempt_id=ATTEMPT,
        verdict=verdict,
        usage=usage,
        stage_seconds=stage_seconds,
        paid=paid,
        traceparent="",
        **fields,
    )


def running(
    *,
    retry_count: int = 0,
    max_retries: int = 3,
    paid_calls: int = 0,
    expire_time: datetime.datetime | None = None,
    stage: Stage = Stage.GEMINI_ANALYZING,
    preparing_deaths: int = 0,
    flaws: tuple[str, ...] = (),
) -> RunningJob:
    return RunningJob(
        lane="gemini/gemini-3.8-flash",
        executor_id="e",
        session=7,
        stage=stage,
        retry_count=retry_count,
        max_retries=max_retries,
        paid_calls=paid_calls,
        preparing_deaths=preparing_deaths,
        expire_time=expire_time,
        flaws=flaws,
    )


def settled(
    verdict: Failed | Throttled | Released,
    job: RunningJob | None = None,
    *,
    breaker_closed: bool = True,
    paid: bool = False,
    paid_cap: int = 0,
    draw: float = 0.0,
) -> FinalRecord | ReturnRecord:
    return settle(
        outcome(verdict, paid=paid),
        verdict,
        job or running(),
        breaker_closed=breaker_closed,
        paid_cap=paid_cap,
        now=NOW,
        draw=draw,
    )


def flawed(flaw: Flaw) -> Failed:
    return Failed(INVALID_OUTPUT, raw_answer="[1,", flaw=flaw, output_path="total")


def returned(end: FinalRecord | AdvanceRecord | ReturnRecord) -> ReturnRecord:
    assert isinstance(end, ReturnRecord)
    return end


def final(end: FinalRecord | AdvanceRecord | ReturnRecord) -> FinalRecord:
    assert isinstance(end, FinalRecord)
    return end


def lost(job: RunningJob, *, died: bool = True, paid_cap: int = 0) -> FinalRecord | ReturnRecord:
    return settle_lost(ATTEMPT, job, "Its executor was lost.", died=died, paid_cap=paid_cap, now=NOW)


# the rows of the table


def test_a_success_ends_the_job_and_costs_what_its_tokens_cost() -> None:
    verdict = Succeeded('{"a":1}')
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, thinking_tokens=100_000)

    end = final(settle_success(outcome(verdict, usage=usage, paid=True), verdict, now=NOW))

    assert end.state is JobState.SUCCEEDED
    assert end.output_json == '{"a":1}'
    assert end.record.cost_usd == pytest.approx(0.75 + 0.2 * 3.75)
    assert (end.record.outcome, end.record.error) == (AttemptOutcome.SUCCEEDED, None)
    assert (end.record.paid, end.record.usage, end.record.finish_time) == (True, usage, NOW)


@pytest.mark.parametrize("error", [PROVIDER_ERROR, TIMEOUT, INVALID_OUTPUT, IMAGE_UNAVAILABLE])
def test_a_retryable_failure_is_charged_and_waits(error: JobError) -> None:
    end = returned(settled(Failed(error), running(retry_count=1)))

    assert end.charged
    assert end.due_time == NOW + 2 * SECOND
    assert (end.record.outcome, end.record.error) == (AttemptOutcome.FAILED, error)
    assert not end.died_preparing


def test_three_retries_wait_one_two_and_four_seconds_and_the_next_failure_is_the_last() -> None:
    ends = [settled(Failed(PROVIDER_ERROR), running(retry_count=count)) for count in range(4)]

    assert [returned(end).due_time for end in ends[:3]] == [NOW + seconds * SECOND for seconds in (1, 2, 4)]
    assert (final(ends[3]).state, final(ends[3]).error) == (JobState.FAILED, None)
    assert final(ends[3]).record.error == PROVIDER_ERROR


def test_the_providers_time_is_never_undercut() -> None:
    assert returned(settled(Failed(PROVIDER_ERROR, retry_after=90 * SECOND))).due_time == NOW + 90 * SECOND


@pytest.mark.parametrize("error", [PROVIDER_ERROR, TIMEOUT])
@pytest.mark.parametrize("retry_after", [None, 90 * SECOND])
def test_a_provider_failure_while_the_breaker_is_not_closed_waits_only_for_the_provider(
    error: JobError, retry_after: datetime.timedelta | None
) -> None:
    verdict = Failed(error, retry_after=retry_after)

    end = returned(settled(verdict, running(retry_count=3), breaker_closed=False))

    assert not end.charged
    assert end.due_time == (None if retry_after is None else NOW + retry_after)


@pytest.mark.parametrize("error", [INVALID_OUTPUT, IMAGE_UNAVAILABLE, SHED])
def test_a_failure_that_is_not_the_providers_is_charged_whatever_the_breaker(error: JobError) -> None:
    end = returned(settled(Failed(error), breaker_closed=False))

    assert end.charged
    assert end.due_time == NOW + SECOND
    assert final(settled(Failed(error), running(retry_count=3), breaker_closed=False)).state is JobState.FAILED


@pytest.mark.parametrize("error", [BAD_IMAGE, BAD_REQUEST, BLOCKED])
@pytest.mark.parametrize("breaker_closed", [True, False])
def test_a_failure_that_is_not_retryable_ends_the_job(error: JobError, breaker_closed: bool) -> None:
    end = final(settled(Failed(error, raw_answer="raw"), breaker_closed=breaker_closed))

    assert (end.state, end.error, end.record.error) == (JobState.FAILED, None, error)
    assert end.record.raw_answer == "raw"


@pytest.mark.parametrize("retry_after", [None, 26 * SECOND])
@pytest.mark.parametrize("breaker_closed", [True, False])
def test_a_throttled_job_goes_back_at_once_and_the_lane_waits(
    retry_after: datetime.timedelta | None, breaker_closed: bool
) -> None:
    verdict = Throttled("Resource exhausted.", retry_after)

    end = returned(settled(verdict, running(retry_count=3), breaker_closed=breaker_closed))

    assert (end.charged, end.due_time) == (False, None)
    assert end.record.outcome is AttemptOutcome.THROTTLED
    assert end.record.error == JobError(kind="THROTTLED", message="Resource exhausted.", retryable=True)


def test_a_released_job_goes_back_at_once_and_unspent() -> None:
    end = returned(settled(Released("It drains."), running(retry_count=3)))

    assert (end.charged, end.due_time, end.died_preparing) == (False, None, False)
    assert end.record.outcome is AttemptOutcome.RELEASED
    assert end.record.error == JobError(kind="RELEASED", message="It drains.", retryable=True)


def test_a_withdrawn_job_goes_back_at_once_and_only_from_its_session() -> None:
    end = returned(settle_withdrawn(ATTEMPT, running(retry_count=3), "No permit in time.", now=NOW))

    assert (end.charged, end.due_time, end.session) == (False, None, 7)
    assert (end.record.outcome, end.record.paid) == (AttemptOutcome.RELEASED, False)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("died", [True, False])
def test_a_lost_job_goes_back_at_once_and_only_from_its_session(stage: Stage, died: bool) -> None:
    end = returned(lost(running(retry_count=3, stage=stage), died=died))

    assert (end.charged, end.due_time, end.session) == (False, None, 7)
    assert (end.record.outcome, end.record.finish_time) == (AttemptOutcome.LOST, NOW)
    assert end.record.error == JobError(kind="LOST", message="Its executor was lost.", retryable=True)


# expiry


@given(error=retryable_errors, left=spans, count=st.integers(0, 2), retry_after=retry_afters, draw=draws)
def test_a_retry_that_would_not_start_in_time_is_an_expiry_instead(
    error: JobError, left: datetime.timedelta, count: int, retry_after: datetime.timedelta | None, draw: float
) -> None:
    verdict = Failed(error, retry_after=retry_after)
    without = returned(settled(verdict, running(retry_count=count), draw=draw))
    assert without.due_time is not None

    end = settled(verdict, running(retry_count=count, expire_time=NOW + left), draw=draw)

    if without.due_time < NOW + left:
        assert end == without
    else:
        assert (final(end).state, final(end).record) == (JobState.EXPIRED, without.record)


@pytest.mark.parametrize("verdict", [Throttled("429"), Released("It drains.")])
def test_a_job_that_would_go_back_after_its_time_is_expired(verdict: Throttled | Released) -> None:
    assert final(settled(verdict, running(expire_time=NOW))).state is JobState.EXPIRED
    assert returned(settled(verdict, running(expire_time=NOW + SECOND))).due_time is None


def test_a_lost_job_that_would_go_back_after_its_time_is_expired() -> None:
    end = final(lost(running(expire_time=NOW)))

    assert (end.state, end.session) == (JobState.EXPIRED, 7)


def test_an_expiry_does_not_hide_why_a_job_failed_for_good() -> None:
    expired = running(expire_time=NOW - SECOND)
    no_retry_left = running(expire_time=NOW - SECOND, retry_count=3)

    assert final(settled(Failed(BAD_IMAGE), expired)).state is JobState.FAILED
    assert final(settled(Failed(PROVIDER_ERROR), no_retry_left)).state is JobState.FAILED


# paid calls


@given(error=retryable_errors, count=st.integers(0, 12), paid_calls=st.integers(0, 12), maximum=maxima)
def test_paid_calls_end_a_job_only_where_its_retries_would_not(
    error: JobError, count: int, paid_calls: int, maximum: int
) -> None:
    end = settled(Failed(error), running(retry_count=count, max_retries=maximum, paid_calls=paid_calls), paid=True)

    if count >= maximum:
        assert (final(end).state, final(end).error) == (JobState.FAILED, None)
    elif paid_calls + 1 > maximum:
        given_up = final(end)
        assert given_up.error is not None
        assert (given_up.state, given_up.error.kind) == (JobState.FAILED, "PAID_CALLS_EXHAUSTED")
        assert not given_up.error.retryable
        assert given_up.record.error == error
    else:
        assert returned(end).record.paid


@given(maximum=maxima)
def test_no_more_calls_are_paid_for_than_retries_and_one_more_however_they_end(maximum: int) -> None:
    paid_calls = 0
    while True:
        end = lost(running(max_retries=maximum, paid_calls=paid_calls))
        paid_calls += end.record.paid
        if isinstance(end, FinalRecord):
            break

    assert paid_calls == maximum + 1
    assert end.error is not None
    assert end.error.kind == "PAID_CALLS_EXHAUSTED"
    assert f"no result: {paid_calls};" in end.error.message
    assert "Its executor was lost." in end.error.message


def test_paid_calls_end_a_job_whose_failures_are_not_charged() -> None:
    end = final(settled(Failed(TIMEOUT), running(paid_calls=3), breaker_closed=False, paid=True))

    assert end.error is not None
    assert end.error.kind == "PAID_CALLS_EXHAUSTED"


@pytest.mark.parametrize("paid_calls", [4, 5])
def test_a_job_whose_calls_are_used_up_makes_none_even_if_its_last_attempt_paid_nothing(paid_calls: int) -> None:
    job = running(paid_calls=paid_calls)

    ends = [settled(Throttled("429"), job), settle_withdrawn(ATTEMPT, job, "No permit.", now=NOW)]

    assert [end.error.kind for end in map(final, ends) if end.error] == ["PAID_CALLS_EXHAUSTED"] * 2


def test_what_was_not_paid_leaves_the_last_call_to_the_next_attempt() -> None:
    job = running(paid_calls=3)

    assert isinstance(settled(Throttled("429"), job), ReturnRecord)
    assert isinstance(settled(Failed(PROVIDER_ERROR), job), ReturnRecord)


@pytest.mark.parametrize("stage", Stage)
def test_a_lost_attempt_counts_as_paid_from_its_call_on(stage: Stage) -> None:
    calling = {Stage.GEMINI_ANALYZING, Stage.DEEPSEEK_ANALYZING, Stage.VALIDATING}

    assert lost(running(stage=stage)).record.paid == (stage in calling)


def test_an_operators_cap_ends_a_job_that_the_retries_would_have_let_go_on() -> None:
    ends = [settled(Failed(TIMEOUT), running(paid_calls=count), paid=True, paid_cap=2) for count in range(2)]

    assert isinstance(ends[0], ReturnRecord)
    capped = final(ends[1])
    assert capped.error is not None
    assert capped.error.kind == "PAID_CALLS_EXHAUSTED"


def test_a_cap_above_the_retries_leaves_room_for_calls_that_are_not_charged() -> None:
    job = running(max_retries=0, paid_calls=3)

    assert isinstance(lost(job, paid_cap=5), ReturnRecord)
    assert final(lost(job)).state is JobState.FAILED
    assert final(settled(Failed(TIMEOUT), job, paid=True, paid_cap=5)).error is None


def test_a_call_that_was_announced_and_lost_is_unanswered() -> None:
    assert lost(running(stage=Stage.DEEPSEEK_ANALYZING)).record.unanswered
    assert not lost(running(stage=Stage.WAITING_FOR_PERMIT)).record.unanswered


def test_an_overdue_attempt_is_paid_for_without_an_answer_in_the_lane_of_its_step() -> None:
    job = replace(running(), lane="deepseek/deepseek-v4-flash", step=2)

    late = overdue(ATTEMPT, job)

    assert (late.paid, late.unanswered, late.step, late.asked_model) == (True, True, 2, "deepseek-v4-flash")


# steps


def test_a_success_of_a_step_that_is_not_the_last_brings_the_job_to_the_next_one() -> None:
    verdict = Succeeded('{"a":1}')
    usage = Usage(input_tokens=1_000_000)

    end = settle_success(outcome(verdict, usage=usage, paid=True, step=1, steps=2), verdict, now=NOW)

    assert isinstance(end, AdvanceRecord)
    assert (end.step, end.output_json) == (1, '{"a":1}')
    assert end.record.outcome is AttemptOutcome.SUCCEEDED
    assert end.record.cost_usd == pytest.approx(0.75)


def test_a_success_of_the_last_step_ends_the_job_and_says_which_step_it_was() -> None:
    verdict = Succeeded("{}")

    end = final(settle_success(outcome(verdict, paid=True, step=2, steps=2), verdict, now=NOW))

    assert (end.state, end.step) == (JobState.SUCCEEDED, 2)


# useless answers


@pytest.mark.parametrize("flaw", Flaw)
def test_a_flaw_is_met_with_so_many_calls_as_the_ladder_has_and_no_more(flaw: Flaw) -> None:
    most = MOST_RETRIES[flaw]
    ends = [
        settled(flawed(flaw), running(flaws=(flaw,) * count, retry_count=count, max_retries=10), paid=True)
        for count in range(most + 1)
    ]

    assert all(returned(end).charged for end in ends[:most])
    last = final(ends[most])
    assert last.state is JobState.FAILED
    assert last.error is not None
    assert last.error.kind == "INVALID_OUTPUT"


def test_the_ladder_is_not_climbed_beyond_the_retries() -> None:
    assert final(settled(flawed(Flaw.NO_TEXT), running(max_retries=0))).state is JobState.FAILED


def test_protected_text_again_and_again_is_a_failure_that_identical_jobs_share() -> None:
    job = running(flaws=(Flaw.RECITATION,) * MOST_RETRIES[Flaw.RECITATION])
    others = running(flaws=(Flaw.EMPTY,) * MOST_RETRIES[Flaw.EMPTY])

    ends = [settled(flawed(Flaw.RECITATION), job), settled(flawed(Flaw.EMPTY), others)]

    assert [end.error.retryable for end in map(final, ends) if end.error] == [False, True]


def test_the_flaw_and_where_it_is_stay_with_the_attempt() -> None:
    record = returned(settled(flawed(Flaw.SCHEMA_MISMATCH))).record

    assert (record.flaw, record.output_path, record.raw_answer) == ("SCHEMA_MISMATCH", "total", "[1,")


def test_a_success_keeps_the_tier_that_was_served_and_costs_what_that_costs() -> None:
    verdict = Succeeded("{}")
    usage = Usage(input_tokens=1_000_000)

    ends = [settle_success(outcome(verdict, usage=usage, service_tier=tier), verdict, now=NOW) for tier in ("", "FLEX")]

    assert [end.record.service_tier for end in ends] == ["", "FLEX"]
    assert ends[1].record.cost_usd == pytest.approx(ends[0].record.cost_usd / 2)


def test_an_answer_of_a_model_without_a_price_costs_what_the_asked_one_does() -> None:
    verdict = Succeeded("{}")
    end = outcome(verdict, usage=Usage(input_tokens=1_000_000), model_version="gemini-9-preview")

    assert settle_success(end, verdict, now=NOW).record.cost_usd == pytest.approx(0.75)


# executors that die


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.FETCHING_IMAGE])
def test_the_third_executor_that_dies_while_it_prepares_a_job_makes_it_poison(stage: Stage) -> None:
    ends = [lost(running(stage=stage, preparing_deaths=deaths)) for deaths in range(3)]

    assert [returned(end).died_preparing for end in ends[:2]] == [True, True]
    poison = final(ends[2])
    assert poison.error is not None
    assert (poison.state, poison.error.kind, poison.error.retryable) == (JobState.FAILED, "POISON", False)
    assert (poison.session, poison.record.outcome) == (7, AttemptOutcome.LOST)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage > Stage.FETCHING_IMAGE])
def test_an_executor_that_dies_later_makes_no_suspect(stage: Stage) -> None:
    assert not returned(lost(running(stage=stage, preparing_deaths=2))).died_preparing


def test_an_attempt_whose_executor_lives_makes_no_suspect() -> None:
    end = returned(lost(running(stage=Stage.STARTING, preparing_deaths=2), died=False))

    assert not end.died_preparing


def test_poison_is_said_of_a_job_that_expired_too() -> None:
    end = final(lost(running(stage=Stage.STARTING, preparing_deaths=2, expire_time=NOW)))

    assert end.state is JobState.FAILED


# what it says of the provider


@pytest.mark.parametrize(
    ("verdict", "stage_seconds", "health"),
    [
        (Succeeded("{}"), CALLED, Health.ANSWERED),
        (Failed(PROVIDER_ERROR), CALLED, Health.FAILED),
        (Failed(TIMEOUT), CALLED, Health.FAILED),
        (Failed(INVALID_OUTPUT), CALLED, Health.ANSWERED),
        (Failed(BAD_REQUEST), CALLED, Health.ANSWERED),
        (Failed(BAD_IMAGE), CALLED, Health.ANSWERED),
        (Failed(BLOCKED), CALLED, Health.ANSWERED),
        (Failed(BLOCKED), {Stage.DEEPSEEK_ANALYZING: 1.0}, Health.ANSWERED),
        (Failed(BAD_IMAGE), NOT_CALLED, Health.UNKNOWN),
        (Failed(IMAGE_UNAVAILABLE), NOT_CALLED, Health.UNKNOWN),
        (Failed(CANCELLED), CALLED, Health.UNKNOWN),
        (Failed(SHED), CALLED, Health.UNKNOWN),
        (Throttled("429"), CALLED, Health.UNKNOWN),
        (Throttled("Billing.", lane_stop="Billing."), CALLED, Health.UNKNOWN),
        (Released("It drains."), NOT_CALLED, Health.UNKNOWN),
        (Released("The key is refused."), CALLED, Health.UNKNOWN),
    ],
)
def test_the_verdict_and_whether_it_was_called_tell_of_the_providers_health(
    verdict: Verdict, stage_seconds: Mapping[Stage, float], health: Health
) -> None:
    assert outcome(verdict, stage_seconds=stage_seconds).health is health
