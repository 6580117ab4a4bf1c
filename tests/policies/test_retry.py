import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.retry import GiveUp, TryAgain, after_failure, may_pay_again

draws = st.floats(0, 1, exclude_max=True)
counts = st.integers(0, 20)
maxima = st.integers(0, 10)
provider_times = st.none() | st.floats(0, 10_000)


def failed(
    *,
    retryable: bool = True,
    retry_count: int = 0,
    max_retries: int = 3,
    breaker_closed: bool = True,
    provider_seconds: float | None = None,
    draw: float = 0.0,
) -> TryAgain | GiveUp:
    return after_failure(
        retryable=retryable,
        retry_count=retry_count,
        max_retries=max_retries,
        breaker_closed=breaker_closed,
        provider_seconds=provider_seconds,
        draw=draw,
    )


def test_three_retries_wait_one_two_and_four_seconds() -> None:
    decisions = [failed(retry_count=count) for count in range(4)]

    assert decisions == [*(TryAgain(wait, charged=True) for wait in (1.0, 2.0, 4.0)), GiveUp()]


def test_the_waits_double_up_to_thirty_seconds() -> None:
    decisions = [failed(retry_count=count, max_retries=10) for count in range(10)]

    assert decisions == [TryAgain(wait, charged=True) for wait in (1.0, 2.0, 4.0, 8.0, 16.0, *[30.0] * 5)]


@pytest.mark.parametrize(("provider_seconds", "wait"), [(0.5, 1.0), (26.5, 26.5), (90.0, 90.0)])
def test_the_providers_time_is_a_minimum(provider_seconds: float, wait: float) -> None:
    assert failed(provider_seconds=provider_seconds) == TryAgain(wait, charged=True)


@pytest.mark.parametrize("provider_seconds", [None, 26.5])
def test_a_failure_while_the_breaker_is_not_closed_waits_only_for_the_provider(provider_seconds: float | None) -> None:
    decision = failed(breaker_closed=False, provider_seconds=provider_seconds, draw=0.9)

    assert decision == TryAgain(provider_seconds, charged=False)


@given(count=counts, maximum=maxima, provider=provider_times, draw=draws)
def test_an_open_breaker_never_costs_a_job_its_life(
    count: int, maximum: int, provider: float | None, draw: float
) -> None:
    decision = failed(
        retry_count=count, max_retries=maximum, breaker_closed=False, provider_seconds=provider, draw=draw
    )

    assert isinstance(decision, TryAgain)
    assert not decision.charged


@given(count=counts, maximum=maxima, closed=st.booleans(), provider=provider_times, draw=draws)
def test_a_failure_that_is_not_retryable_ends_the_job(
    count: int, maximum: int, closed: bool, provider: float | None, draw: float
) -> None:
    decision = failed(
        retryable=False,
        retry_count=count,
        max_retries=maximum,
        breaker_closed=closed,
        provider_seconds=provider,
        draw=draw,
    )

    assert decision == GiveUp()


@given(count=counts, maximum=maxima, provider=provider_times, draw=draws)
def test_retries_end_exactly_at_their_maximum_and_never_before_the_providers_time(
    count: int, maximum: int, provider: float | None, draw: float
) -> None:
    decision = failed(retry_count=count, max_retries=maximum, provider_seconds=provider, draw=draw)

    assert isinstance(decision, GiveUp) == (count >= maximum)
    if isinstance(decision, TryAgain):
        assert decision.charged
        assert decision.after_seconds is not None
        assert decision.after_seconds >= (provider or 0.0)
        assert min(2.0**count, 30.0) <= decision.after_seconds <= max(min(2.0**count, 30.0) * 1.2, provider or 0.0)


@given(maximum=maxima)
def test_as_many_calls_are_paid_for_as_there_are_retries_and_one_more(maximum: int) -> None:
    paid = 0
    while may_pay_again(paid_calls=paid, max_retries=maximum):
        paid += 1

    assert paid == maximum + 1


@given(maximum=maxima, cap=maxima.map(lambda number: number + 1))
def test_a_cap_counts_the_calls_whatever_the_retries(maximum: int, cap: int) -> None:
    paid = 0
    while may_pay_again(paid_calls=paid, max_retries=maximum, cap=cap):
        paid += 1

    assert paid == cap
