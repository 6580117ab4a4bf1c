from hypothesis import given
from hypothesis import strategies as st

from policies.retry import GiveUp, TryAgain, after_failure, after_throttling

draws = st.floats(0, 1, exclude_max=True)
provider_times = st.none() | st.floats(0, 10_000)


@given(retry_count=st.integers(0, 20), max_retries=st.integers(0, 10), provider=provider_times, draw=draws)
def test_a_failure_that_is_not_retryable_ends_the_job(
    retry_count: int, max_retries: int, provider: float | None, draw: float
) -> None:
    decision = after_failure(
        retryable=False, retry_count=retry_count, max_retries=max_retries, provider_seconds=provider, draw=draw
    )

    assert decision == GiveUp()


@given(retry_count=st.integers(0, 20), max_retries=st.integers(0, 10), provider=provider_times, draw=draws)
def test_retries_end_exactly_at_their_maximum_and_never_before_the_providers_time(
    retry_count: int, max_retries: int, provider: float | None, draw: float
) -> None:
    decision = after_failure(
        retryable=True, retry_count=retry_count, max_retries=max_retries, provider_seconds=provider, draw=draw
    )

    assert isinstance(decision, GiveUp) == (retry_count >= max_retries)
    if isinstance(decision, TryAgain):
        assert decision.charged
        assert decision.after_seconds >= (provider or 0)


def test_a_throttled_job_waits_for_the_providers_time_as_it_is_and_is_not_charged() -> None:
    assert after_throttling(provider_seconds=26.5, throttle_count=3, draw=0.9) == TryAgain(26.5, charged=False)


def test_a_throttled_job_without_a_time_waits_half_a_minute() -> None:
    assert after_throttling(provider_seconds=None, throttle_count=0, draw=0.0) == TryAgain(30.0, charged=False)
