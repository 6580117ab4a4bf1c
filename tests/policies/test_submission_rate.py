"""The pace of a client: what any window lets through, and that who waits as told gets through."""

import datetime
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from policies import submission_rate

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
# Times are kept in microseconds, and a cost is rounded to one.
ROUNDING = datetime.timedelta(milliseconds=1)

rates = st.floats(min_value=submission_rate.SLOWEST_PER_SECOND, max_value=10_000)
calls = st.lists(st.tuples(st.floats(min_value=0, max_value=5), st.integers(1, 1_000)), max_size=60)


class Client:
    """Submits, and remembers what was let through: (when, how many)."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.now = START
        self.worked_off = START
        self.passed: list[tuple[datetime.datetime, int]] = []

    def submit(self, count: int) -> datetime.timedelta:
        """Return how long to wait; nothing or less if it was let through."""
        wait = submission_rate.wait(self.worked_off, now=self.now)
        if wait <= datetime.timedelta():
            self.worked_off = submission_rate.after(self.worked_off, count, per_second=self.per_second, now=self.now)
            self.passed.append((self.now, count))
        return wait


@given(rates, calls)
def test_no_window_holds_more_than_its_time_and_a_second_allow_and_one_call(
    per_second: float, submissions: Sequence[tuple[float, int]]
) -> None:
    client = Client(per_second)
    for pause, count in submissions:
        client.now += datetime.timedelta(seconds=pause)
        client.submit(count)

    for first in range(len(client.passed)):
        for last in range(first, len(client.passed)):
            window = client.passed[last][0] - client.passed[first][0] + submission_rate.BURST + ROUNDING
            before_the_last = sum(count for _, count in client.passed[first:last])
            assert before_the_last <= window.total_seconds() * per_second


@given(rates, calls)
def test_who_waits_as_told_is_let_through(per_second: float, submissions: Sequence[tuple[float, int]]) -> None:
    client = Client(per_second)
    for pause, count in submissions:
        client.now += datetime.timedelta(seconds=pause)
        wait = client.submit(count)
        if wait > datetime.timedelta():
            client.now += wait
            assert client.submit(count) <= datetime.timedelta()

    assert len(client.passed) == len(submissions)


@given(rates, st.integers(1, 1_000))
def test_a_client_that_keeps_its_rate_never_waits(per_second: float, count: int) -> None:
    client = Client(per_second)
    for _ in range(20):
        assert client.submit(count) <= datetime.timedelta()
        client.now += submission_rate.cost(count, per_second=per_second)


def test_a_seconds_worth_may_come_at_once() -> None:
    client = Client(10)

    waits = [client.submit(1) > datetime.timedelta() for _ in range(12)]

    # The eleventh finds the second just used up, and is the one call that is let through beyond it.
    assert waits == [False] * 11 + [True]


def test_a_large_batch_is_let_through_whole_and_worked_off_afterwards() -> None:
    client = Client(10)

    assert client.submit(1_000) <= datetime.timedelta()
    assert client.submit(1) == datetime.timedelta(seconds=99)
