from hypothesis import given
from hypothesis import strategies as st

from policies import backoff

draws = st.floats(0, 1, exclude_max=True)


def test_the_waits_double_from_one_second_to_thirty() -> None:
    waits = [backoff.retry_seconds(number, draw=0.0) for number in range(7)]

    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_full_draw_adds_a_fifth() -> None:
    assert backoff.retry_seconds(2, draw=1.0) == 4 * 1.2


@given(number=st.integers(0, 10_000), draw=draws)
def test_a_wait_stays_between_its_exponential_and_a_fifth_more(number: int, draw: float) -> None:
    bare = backoff.retry_seconds(number, draw=0.0)

    assert bare <= backoff.retry_seconds(number, draw=draw) < bare * 1.2 + 1e-9
    assert 1 <= bare <= 30


@given(number=st.integers(0, 10_000), draw=draws)
def test_a_throttled_lane_waits_from_half_a_minute_to_ten_minutes(number: int, draw: float) -> None:
    assert 30 <= backoff.throttled_seconds(number, draw=draw) <= 600 * 1.2
