import datetime
import json
import math
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import provider_failures
from policies.provider_failures import Fails, Meaning, RefusesExecutor, Throttles

NOW = datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)


def error(status: int, canonical: str, message: str, *details: object) -> str:
    return json.dumps({"error": {"code": status, "message": message, "status": canonical, "details": details}})


def meaning(status: int, body: str, *, retry_after: str | None = None) -> Meaning:
    return provider_failures.of_status(status, body, retry_after=retry_after, now=NOW)


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

    found = provider_failures.of_status(429, body, retry_after="1000000", now=datetime.datetime.fromisoformat(now))

    assert found == Throttles(message="HTTP 429 RESOURCE_EXHAUSTED: Quota.", retry_after_seconds=hours * 3600)


@given(minutes=st.floats(min_value=-5_000_000, max_value=5_000_000))
def test_a_daily_quota_ends_with_the_day(minutes: float) -> None:
    now = NOW + datetime.timedelta(minutes=minutes)
    body = error(429, "RESOURCE_EXHAUSTED", "", quota_failure(PER_DAY))
    seconds = provider_failures.of_status(429, body, retry_after=None, now=now).retry_after_seconds  # type: ignore[union-attr]

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


@pytest.mark.parametrize(
    ("block_reason", "finish_reason", "has_text", "kind", "retryable"),
    [
        ("SAFETY", "", False, "BLOCKED", False),
        ("", "SAFETY", True, "BLOCKED", False),
        ("", "IMAGE_SAFETY", False, "BLOCKED", False),
        ("", "MAX_TOKENS", True, "INVALID_OUTPUT", True),
        ("", "RECITATION", False, "INVALID_OUTPUT", True),
        ("", "BRAND_NEW", True, "INVALID_OUTPUT", True),
        ("", "STOP", False, "INVALID_OUTPUT", True),
        ("", "", False, "INVALID_OUTPUT", True),
    ],
)
def test_an_ending_that_is_no_answer_fails_the_attempt(
    block_reason: str, finish_reason: str, has_text: bool, kind: str, retryable: bool
) -> None:
    found = provider_failures.of_answer(block_reason=block_reason, finish_reason=finish_reason, has_text=has_text)

    assert found is not None
    assert (found.kind, found.retryable) == (kind, retryable)


def test_a_complete_answer_is_no_failure() -> None:
    assert provider_failures.of_answer(block_reason="", finish_reason="STOP", has_text=True) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["error", "details", "retryDelay", "violations", "quotaId", "x"]), inner)
    ),
)


@given(
    status=st.integers(min_value=100, max_value=999),
    body=st.text() | JSON.map(json.dumps) | st.just("[" * 50_000),
    retry_after=st.none() | st.text() | st.integers().map(str),
)
def test_no_body_whatever_makes_the_classification_raise(status: int, body: str, retry_after: str | None) -> None:
    found = meaning(status, body, retry_after=retry_after)

    seconds = getattr(found, "retry_after_seconds", None)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= provider_failures.MAX_RETRY_SECONDS)


@given(delay=st.text() | st.from_regex(r"\d{1,30}(\.\d{1,30})?s", fullmatch=True))
def test_no_retry_delay_makes_the_classification_raise(delay: str) -> None:
    assert isinstance(meaning(429, error(429, "RESOURCE_EXHAUSTED", "", retry_info(delay))), Throttles)
