import pytest

from policies import poll


@pytest.mark.parametrize(("waiting", "seconds"), [(0, 5.0), (1, 2.0), (5, 2.0), (6, 0.5), (1_000_000, 0.5)])
def test_the_poll_is_rare_when_nothing_waits_and_frequent_when_many_do(waiting: int, seconds: float) -> None:
    assert poll.interval_seconds(waiting) == seconds
