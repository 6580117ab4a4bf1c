import datetime
import json
import math

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
        (404, error(404, "NOT_FOUND", "models/gemini-1 is not found for API version v1beta"), "BAD_REQUEST", False),
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
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "details", "retryDelay", "x"]), inner),
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
