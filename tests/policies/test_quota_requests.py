import datetime
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quota_callers import (
    LATENESS,
    MINUTE,
    NOTHING,
    START,
    Caller,
    aheads,
    fractions,
    keep_busy,
    one,
    pauses,
    simulation,
    used_until,
)

from policies.quota import Limits, interval


@pytest.mark.parametrize("per_minute", [1, 7, 60, 900, 8_192, 60_000])
def test_busy_schedulers_use_the_limit_of_requests_and_never_pass_it(per_minute: int) -> None:
    caller = Caller(Limits(requests_per_minute=per_minute))
    lasting = MINUTE + datetime.timedelta(seconds=2) if per_minute > 1_000 else 5 * MINUTE
    aheads = (datetime.timedelta(milliseconds=200), datetime.timedelta(milliseconds=50))

    keep_busy(caller, itertools.repeat(NOTHING), lasting=lasting, aheads=aheads, lateness=(0.0, 1.0, 0.5))

    assert 0.99 * per_minute <= caller.most_requests <= per_minute
    assert used_until(caller, START + lasting, one) >= 0.95 * per_minute * (lasting / MINUTE)


@settings(simulation, max_examples=25)
@given(per_minute=st.integers(1, 300), aheads=st.tuples(aheads, aheads), lateness=fractions)
def test_any_horizon_and_any_lateness_within_it_use_the_limit_of_requests(
    per_minute: int, aheads: tuple[datetime.timedelta, ...], lateness: list[float]
) -> None:
    caller = Caller(Limits(requests_per_minute=per_minute))
    lasting = 2 * MINUTE

    keep_busy(caller, itertools.repeat(NOTHING), lasting=lasting, aheads=aheads, lateness=lateness)

    assert caller.most_requests <= per_minute
    assert used_until(caller, START + lasting, one) >= 0.95 * per_minute * 2


@settings(max_examples=100, deadline=None)
@given(
    per_minute=st.integers(1, 12),
    arrivals=st.lists(st.tuples(pauses, st.integers(0, 20), aheads), min_size=1, max_size=40),
)
def test_no_pattern_of_arrivals_gets_more_requests_into_a_minute(
    per_minute: int, arrivals: list[tuple[datetime.timedelta, int, datetime.timedelta]]
) -> None:
    caller = Caller(Limits(requests_per_minute=per_minute))

    for pause, count, ahead in arrivals:
        caller.now += pause
        caller.ask([NOTHING] * count, ahead=ahead)

    assert caller.most_requests <= per_minute


@given(per_minute=st.integers(1, 60_000))
def test_the_interval_keeps_every_limit_and_wastes_at_most_a_twentieth(per_minute: int) -> None:
    between = interval(Limits(requests_per_minute=per_minute))

    assert between is not None
    assert per_minute * between >= MINUTE + LATENESS
    assert per_minute * between <= MINUTE / 0.95


def test_permits_come_without_bursts_even_after_an_idle_hour() -> None:
    caller = Caller(Limits(requests_per_minute=60), now=START - datetime.timedelta(hours=1))
    caller.ask([NOTHING])
    caller.now = START

    assert caller.ask([NOTHING] * 3) == [START]
    assert caller.pace.next_permit_time == START + datetime.timedelta(microseconds=1_013_334)
