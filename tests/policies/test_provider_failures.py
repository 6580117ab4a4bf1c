import datetime
import json
import math
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import provider_failures
from policies.breaker import Health
from policies.failure_rows import LaneEffect, Paid
from policies.ladder import Flaw
from policies.provider_failures import Answer, Fails, Meaning, RefusesExecutor, Throttles

NOW = datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)


def error(status: int, canonical: str, message: str, *details: object) -> str:
    return json.dumps({"error": {"code": status, "message": message, "status": canonical, "details": details}})


def meaning(
    status: int,
    body: str = "",
    *,
    retry_after: str | None = None,
    now: datetime.datetime = NOW,
    provider: str = "gemini",
    tier: str = "",
) -> Meaning:
    return provider_failures.of_status(
        status, body, retry_after=retry_after, now=now, provider=provider, service_tier=tier
    )


def retry_info(delay: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def test_a_429_takes_the_longest_of_retry_info_and_the_header() -> None:
    body = error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", retry_info("26s"))

    assert meaning(429, body) == Throttles(
        message="HTTP 429 RESOURCE_EXHAUSTED: You exceeded your current quota.", retry_after_seconds=26.0
    )
    assert meaning(429, body, retry_after="40").retry_after_seconds == 40.0  # type: ignore[union-attr]
    assert meaning(429, body, retry_after="3").retry_after_seconds == 26.0  # type: ignore[union-attr]


def quota_failure(*quota_ids: str) -> dict[str, object]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": "m", "quotaId": quota_id} for quota_id in quota_ids],
    }


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        ("2026-11-24T09:30:00Z", 22.5),
        ("2026-11-24T07:59:00Z", 1 / 60),
        ("2026-11-24T08:00:00Z", 24.0),
        ("2026-07-01T09:00:00Z", 22.0),
        # The days on which the clocks change.
        ("2026-11-01T07:00:00Z", 25.0),
        ("2026-03-08T08:00:00Z", 23.0),
        ("2026-11-24T01:30:00-08:00", 22.5),
    ],
)
def test_a_daily_quota_is_hit_until_midnight_in_california_whatever_the_provider_says(now: str, hours: float) -> None:
    body = error(429, "RESOURCE_EXHAUSTED", "Quota.", quota_failure(PER_MINUTE, PER_DAY), retry_info("18s"))

    found = meaning(429, body, retry_after="1000000", now=datetime.datetime.fromisoformat(now))

    assert found == Throttles(message="HTTP 429 RESOURCE_EXHAUSTED: Quota.", retry_after_seconds=hours * 3600)


@given(minutes=st.floats(min_value=-5_000_000, max_value=5_000_000))
def test_a_daily_quota_ends_with_the_day(minutes: float) -> None:
    now = NOW + datetime.timedelta(minutes=minutes)
    body = error(429, "RESOURCE_EXHAUSTED", "", quota_failure(PER_DAY))
    seconds = meaning(429, body, now=now).retry_after_seconds  # type: ignore[union-attr]

    assert seconds is not None
    assert 0 < seconds <= 25 * 3600
    zone = zoneinfo.ZoneInfo("America/Los_Angeles")
    assert (now + datetime.timedelta(seconds=seconds)).astimezone(zone).time() == datetime.time()


def test_a_quota_of_minutes_has_the_providers_own_time() -> None:
    body = error(429, "RESOURCE_EXHAUSTED", "Quota.", quota_failure(PER_MINUTE), retry_info("18s"))

    assert meaning(429, body).retry_after_seconds == 18.0  # type: ignore[union-attr]


def test_a_daily_quota_is_a_matter_of_429_alone() -> None:
    body = error(503, "UNAVAILABLE", "Overloaded.", quota_failure(PER_DAY), retry_info("18s"))

    assert meaning(503, body).retry_after_seconds == 18.0  # type: ignore[union-attr]


PREPAID = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
CAPPED = "Your project has exceeded its monthly spending cap."


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (402, "", "HTTP 402: no message"),
        (402, error(402, "", "Insufficient Balance"), "HTTP 402: Insufficient Balance"),
        (429, error(429, "RESOURCE_EXHAUSTED", PREPAID), f"HTTP 429 RESOURCE_EXHAUSTED: {PREPAID}"),
        (429, error(429, "RESOURCE_EXHAUSTED", CAPPED), f"HTTP 429 RESOURCE_EXHAUSTED: {CAPPED}"),
    ],
)
def test_depleted_billing_stops_the_lane(status: int, body: str, words: str) -> None:
    assert meaning(status, body) == Throttles(
        message=words,
        retry_after_seconds=None,
        lane_stop=f"Billing of the provider's account is depleted: {words}",
    )


RETIRED = "models/gemini-2.0-flash is not found for API version v1beta, or is not supported for generateContent."
CLOSED = "This model models/gemini-2.5-flash is no longer available to new users."


@pytest.mark.parametrize("message", [RETIRED, CLOSED])
def test_a_retired_model_stops_the_lane(message: str) -> None:
    words = f"HTTP 404 NOT_FOUND: {message}"

    assert meaning(404, error(404, "NOT_FOUND", message)) == Throttles(
        message=words,
        retry_after_seconds=None,
        lane_stop=f"The provider does not offer the model any more: {words}",
    )


@pytest.mark.parametrize(
    "message",
    [
        "You exceeded your current quota, please check your plan and billing details.",
        "Resource has been exhausted (e.g. check quota).",
    ],
)
def test_an_ordinary_limit_stops_no_lane(message: str) -> None:
    assert meaning(429, error(429, "RESOURCE_EXHAUSTED", message)).lane_stop == ""  # type: ignore[union-attr]


def test_a_429_that_names_no_time_says_so() -> None:
    body = error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")

    assert meaning(429, body).retry_after_seconds is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0),
        ("Tue, 24 Nov 2026 09:31:00 GMT", 60.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("9" * 400, None),
        ("99999999999999", provider_failures.MAX_RETRY_SECONDS),
    ],
)
def test_the_header_may_hold_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert meaning(503, "", retry_after=header) == Fails(
        kind="PROVIDER_ERROR", message="HTTP 503: no message", retryable=True, retry_after_seconds=seconds
    )


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (500, error(500, "INTERNAL", "An internal error has occurred."), "PROVIDER_ERROR", True),
        (502, "<html>Bad Gateway</html>", "PROVIDER_ERROR", True),
        (503, error(503, "UNAVAILABLE", "The model is overloaded."), "PROVIDER_ERROR", True),
        (504, error(504, "DEADLINE_EXCEEDED", "Deadline expired."), "PROVIDER_ERROR", True),
        (499, error(499, "CANCELLED", "The operation was cancelled."), "PROVIDER_ERROR", True),
        (408, "", "PROVIDER_ERROR", True),
        (302, "", "PROVIDER_ERROR", True),
        (400, error(400, "INVALID_ARGUMENT", "Unable to process input image. Please retry"), "BAD_IMAGE", False),
        (400, error(400, "INVALID_ARGUMENT", "Provided image is not valid."), "BAD_IMAGE", False),
        (400, error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), "BAD_REQUEST", False),
        (400, error(400, "INVALID_ARGUMENT", "The schema has too many states for serving."), "BAD_REQUEST", False),
        (404, error(404, "NOT_FOUND", "Requested entity was not found."), "BAD_REQUEST", False),
        (413, "", "BAD_REQUEST", False),
    ],
)
def test_an_error_status_fails_the_attempt(status: int, body: str, kind: str, retryable: bool) -> None:
    found = meaning(status, body)

    assert isinstance(found, Fails)
    assert (found.kind, found.retryable) == (kind, retryable)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})),
        (400, error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")),
        (401, ""),
        (403, error(403, "PERMISSION_DENIED", "Your API key was reported as leaked.")),
    ],
)
def test_a_bad_key_is_a_condition_of_the_executor(status: int, body: str) -> None:
    assert isinstance(meaning(status, body), RefusesExecutor)


def test_an_error_wrapped_in_a_list_is_read() -> None:
    body = f"[{error(400, 'INVALID_ARGUMENT', 'API key not valid.', {'reason': 'API_KEY_INVALID'})}]"

    assert isinstance(meaning(400, body), RefusesExecutor)


SCHEMA_WORDS = [
    "The specified schema produces a constraint that has too many states for serving. Typical causes …",
    "Request contains an invalid argument.",
    "Invalid JSON payload received. Unknown name \"x\" at 'generation_config.response_schema': Cannot find field.",
]


@pytest.mark.parametrize("message", SCHEMA_WORDS)
def test_a_refusal_that_may_be_the_schemas_says_so(message: str) -> None:
    assert meaning(400, error(400, "INVALID_ARGUMENT", message)) == Fails(
        kind="BAD_REQUEST",
        message=f"HTTP 400 INVALID_ARGUMENT: {message}",
        retryable=False,
        schema_suspected=True,
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "Payload Too Large"),
        (400, "Request payload size exceeds the limit: 20971520 bytes."),
        (400, "Unable to process input image. Please retry or report"),
        (400, "temperature must be in the range [0.0, 2.0]."),
    ],
)
def test_a_refusal_that_names_another_reason_suspects_no_schema(status: int, message: str) -> None:
    found = meaning(status, error(status, "INVALID_ARGUMENT", message))

    assert isinstance(found, Fails)
    assert not found.schema_suspected


@pytest.mark.parametrize(("tier", "kind"), [("FLEX", "SHED"), ("flex", "SHED"), ("", "PROVIDER_ERROR")])
def test_a_503_in_the_flex_tier_is_load_that_was_shed(tier: str, kind: str) -> None:
    found = meaning(503, error(503, "UNAVAILABLE", "The model is overloaded."), tier=tier)

    assert isinstance(found, Fails)
    assert (found.kind, found.retryable) == (kind, True)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "Invalid request body", "BAD_REQUEST"),
        (400, "Model Not Exist", Throttles),
        (401, "Authentication Fails", RefusesExecutor),
        (402, "Insufficient Balance", Throttles),
        (422, "Invalid max_tokens value", "BAD_REQUEST"),
        (429, "Rate limit reached", Throttles),
        (500, "Server error", "PROVIDER_ERROR"),
        (503, "Server overloaded", "PROVIDER_ERROR"),
        # What only the other provider says means nothing here.
        (400, "Request contains an invalid argument.", "BAD_REQUEST"),
        (404, "no longer available", "BAD_REQUEST"),
    ],
)
def test_deepseek_has_rows_of_its_own(status: int, message: str, expected: object) -> None:
    found = meaning(status, json.dumps({"error": {"message": message}}), provider="deepseek", tier="FLEX")

    if isinstance(found, Fails):
        assert (found.kind, found.schema_suspected) == (expected, False)
    else:
        assert isinstance(found, expected)  # type: ignore[arg-type]


def test_the_rows_have_names_of_their_own() -> None:
    names = [row.name for row in provider_failures.TABLE]

    assert len(set(names)) == len(names)


def test_every_failure_is_either_charged_or_final_and_the_rest_goes_back_unspent() -> None:
    for row in provider_failures.TABLE:
        unspent = row.kind in ("THROTTLED", "RELEASED")
        assert row.retryable or not unspent
        assert row.charged == (row.retryable and not unspent), row.name
        assert (row.lane is not LaneEffect.NONE) == (row.kind == "THROTTLED"), row.name
        assert bool(row.stop) == (row.lane is LaneEffect.STOP), row.name


def test_a_flaw_is_one_of_an_answer_that_was_paid_for() -> None:
    flawed = [row for row in provider_failures.TABLE if row.flaw is not None]

    assert {row.flaw for row in flawed} == set(Flaw)
    assert {(row.kind, row.paid, row.retryable) for row in flawed} == {("INVALID_OUTPUT", Paid.YES, True)}


@pytest.mark.parametrize(
    ("kind", "called", "health"),
    [
        ("PROVIDER_ERROR", True, Health.FAILED),
        ("PROVIDER_ERROR", False, Health.FAILED),
        ("TIMEOUT", True, Health.FAILED),
        ("SHED", True, Health.UNKNOWN),
        ("CANCELLED", True, Health.UNKNOWN),
        ("THROTTLED", True, Health.UNKNOWN),
        ("RELEASED", True, Health.UNKNOWN),
        ("BAD_IMAGE", True, Health.ANSWERED),
        ("BAD_IMAGE", False, Health.UNKNOWN),
        ("INVALID_OUTPUT", True, Health.ANSWERED),
        ("BLOCKED", True, Health.ANSWERED),
        ("OF_A_LATER_VERSION", False, Health.UNKNOWN),
    ],
)
def test_a_kind_says_what_it_tells_of_the_provider(kind: str, called: bool, health: Health) -> None:
    assert provider_failures.health_of(kind, called=called) is health


def of_answer(
    text: str = "{}", finish: str = "STOP", *, block: str = "", candidate: bool = True, provider: str = "gemini"
) -> Fails | None:
    return provider_failures.of_answer(
        Answer(provider=provider, has_candidate=candidate, text=text, finish_reason=finish, block_reason=block)
    )


LOOP = '{"total": 0.' + "3" * 2_000


@pytest.mark.parametrize(
    ("found", "kind", "flaw"),
    [
        (of_answer("", "", block="SAFETY", candidate=False), "BLOCKED", ""),
        (of_answer("", "", candidate=False), "INVALID_OUTPUT", "EMPTY"),
        (of_answer('{"a": 1', "MAX_TOKENS"), "INVALID_OUTPUT", "TRUNCATED"),
        (of_answer("{}", "MAX_TOKENS"), "INVALID_OUTPUT", "TRUNCATED"),
        (of_answer("", "MAX_TOKENS"), "INVALID_OUTPUT", "TRUNCATED"),
        (of_answer(LOOP, "MAX_TOKENS"), "INVALID_OUTPUT", "LOOPING"),
        (of_answer("{}", "SAFETY"), "BLOCKED", ""),
        (of_answer("", "IMAGE_SAFETY"), "BLOCKED", ""),
        (of_answer("", "MODEL_ARMOR"), "BLOCKED", ""),
        (of_answer("", "RECITATION"), "INVALID_OUTPUT", "RECITATION"),
        (of_answer("{}", "LANGUAGE"), "INVALID_OUTPUT", "UNFINISHED"),
        (of_answer("{}", "CONTINUATION"), "INVALID_OUTPUT", "UNFINISHED"),
        (of_answer("{}", "BRAND_NEW"), "INVALID_OUTPUT", "UNFINISHED"),
        (of_answer("", "STOP"), "INVALID_OUTPUT", "NO_TEXT"),
        (of_answer(" \n", ""), "INVALID_OUTPUT", "NO_TEXT"),
        (of_answer("1" * (provider_failures.MAX_TEXT + 1)), "INVALID_OUTPUT", "UNFINISHED"),
        (of_answer('{"a"', "length", provider="deepseek"), "INVALID_OUTPUT", "TRUNCATED"),
        (of_answer(LOOP, "length", provider="deepseek"), "INVALID_OUTPUT", "LOOPING"),
        (of_answer("", "content_filter", provider="deepseek"), "BLOCKED", ""),
        (of_answer("", "insufficient_system_resource", provider="deepseek"), "PROVIDER_ERROR", ""),
        (of_answer("  \n ", "stop", provider="deepseek"), "INVALID_OUTPUT", "EMPTY"),
        (of_answer("", "", candidate=False, provider="deepseek"), "INVALID_OUTPUT", "EMPTY"),
        (of_answer("{}", "tool_calls", provider="deepseek"), "INVALID_OUTPUT", "UNFINISHED"),
    ],
)
def test_a_200_that_is_no_answer_fails_the_attempt_with_its_flaw(found: Fails | None, kind: str, flaw: str) -> None:
    assert found is not None
    assert (found.kind, found.flaw) == (kind, flaw)
    assert found.retryable == (kind != "BLOCKED")


@pytest.mark.parametrize("finish", ["STOP", "", "FINISH_REASON_UNSPECIFIED", "stop"])
def test_a_complete_answer_is_no_failure(finish: str) -> None:
    assert of_answer("{}", finish) is None
    assert of_answer("1" * provider_failures.MAX_TEXT, finish) is None
    assert of_answer("{}", finish, block="SAFETY") is None


def test_an_ending_without_end_is_cut_in_the_message() -> None:
    found = of_answer("{}", "X" * 10_000)

    assert found is not None
    assert found.message == f"The answer ended with {'X' * 64}."


@given(
    text=st.text() | st.sampled_from([LOOP, "", " "]),
    finish=st.text() | st.sampled_from(["STOP", "MAX_TOKENS", "length", "SAFETY", "stop"]),
    block=st.text(max_size=100),
    candidate=st.booleans(),
    provider=st.text() | st.sampled_from(["gemini", "deepseek"]),
)
def test_whatever_a_200_says_it_is_either_an_answer_or_a_row_of_the_table(
    text: str, finish: str, block: str, candidate: bool, provider: str
) -> None:
    found = of_answer(text, finish, block=block, candidate=candidate, provider=provider)

    if found is None:
        assert text.strip()
        assert candidate
    else:
        assert found.message
        assert len(found.message) < 200
        assert found.kind in {row.kind for row in provider_failures.TABLE}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["error", "details", "retryDelay", "violations", "quotaId", "x"]), inner)
    ),
)


@given(
    status=st.integers(min_value=100, max_value=999),
    body=st.text() | JSON.map(json.dumps) | st.just("[" * 50_000) | st.just('{"error": {"message": "' + "x" * 99_000),
    retry_after=st.none() | st.text() | st.integers().map(str),
    provider=st.text() | st.sampled_from(["gemini", "deepseek"]),
    tier=st.text() | st.just("FLEX"),
)
def test_no_body_whatever_makes_the_classification_raise(
    status: int, body: str, retry_after: str | None, provider: str, tier: str
) -> None:
    found = meaning(status, body, retry_after=retry_after, provider=provider, tier=tier)

    assert len(found.message) <= 1_200
    seconds = getattr(found, "retry_after_seconds", None)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= provider_failures.MAX_RETRY_SECONDS)


@given(delay=st.text() | st.from_regex(r"\d{1,30}(\.\d{1,30})?s", fullmatch=True))
def test_no_retry_delay_makes_the_classification_raise(delay: str) -> None:
    assert isinstance(meaning(429, error(429, "RESOURCE_EXHAUSTED", "", retry_info(delay))), Throttles)
