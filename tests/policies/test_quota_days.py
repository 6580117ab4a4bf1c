import datetime
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quota_callers import (
    ASKS,
    AT_ONCE,
    BURSTS,
    LATENESS,
    LIMITS,
    NOTHING,
    START,
    TICK,
    Bursts,
    Caller,
    after,
    aheads,
    keep_busy,
    pauses,
    per_day,
    utc,
)

from policies.quota import VALIDITY, Ask, Limits, end_of_day, provider_day, reconsider


@pytest.mark.parametrize(
    ("time", "end"),
    [
        (utc(2026, 11, 24, 12), utc(2026, 11, 25, 8)),
        (utc(2026, 7, 1, 6, 59, 59), utc(2026, 7, 1, 7)),
        (utc(2026, 7, 1, 7), utc(2026, 7, 2, 7)),
        # 23 hours, then 25.
        (utc(2026, 3, 8, 8), utc(2026, 3, 9, 7)),
        (utc(2026, 11, 1, 7), utc(2026, 11, 2, 8)),
    ],
)
def test_a_day_ends_at_midnight_pacific(time: datetime.datetime, end: datetime.datetime) -> None:
    assert end_of_day(time) == end
    assert provider_day(end - TICK) == provider_day(time)
    assert provider_day(end) == provider_day(time) + datetime.timedelta(days=1)


def test_a_day_that_is_used_up_goes_on_at_midnight_pacific() -> None:
    caller = Caller(Limits(requests_per_day=2))

    assert caller.ask([NOTHING] * 3) == [START, START]
    assert caller.pace.next_permit_time == utc(2026, 11, 25, 8) + VALIDITY


@pytest.mark.parametrize("start", [utc(2026, 3, 6, 20), utc(2026, 10, 30, 20), utc(2026, 7, 1, 6, 59, 58)])
@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 6),
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 3_600.0, 10_000.0]) | st.floats(0, 40_000), st.integers(0, 4), aheads),
        max_size=40,
    ),
)
def test_no_pacific_day_has_more_calls_than_its_limit(
    start: datetime.datetime, limit: int, steps: list[tuple[float, int, datetime.timedelta]]
) -> None:
    caller = Caller(Limits(requests_per_day=limit), now=start)

    for pause, count, ahead in steps:
        caller.now += datetime.timedelta(seconds=pause)
        if (midnight := end_of_day(caller.now)) - caller.now < datetime.timedelta(hours=1):
            # The instants that matter.
            caller.now = max(caller.now, midnight - ahead)
        caller.ask([NOTHING] * count, ahead=ahead)

    assert max(per_day(caller.calls).values(), default=0) <= limit


@pytest.mark.parametrize("start", [utc(2026, 3, 6, 20), utc(2026, 10, 30, 20)])
@pytest.mark.parametrize("ahead", [AT_ONCE, datetime.timedelta(milliseconds=200)])
def test_each_pacific_day_is_used_up_where_work_always_waits(
    start: datetime.datetime, ahead: datetime.timedelta
) -> None:
    caller = Caller(Limits(requests_per_day=7), now=start)

    keep_busy(caller, itertools.repeat(NOTHING), lasting=datetime.timedelta(days=5), aheads=(ahead,))

    assert list(per_day(caller.calls).values())[:5] == [7] * 5


def test_the_old_day_is_over_once_a_permit_of_the_new_one_was_given() -> None:
    caller = Caller(Limits(requests_per_day=2), now=utc(2026, 11, 25, 8) + VALIDITY)
    caller.ask([NOTHING] * 2)

    # Another scheduler's idea of the time may be a little behind.
    caller.now -= 2 * VALIDITY + LATENESS

    assert caller.ask([NOTHING]) == []
    assert caller.pace.next_permit_time == utc(2026, 11, 26, 8) + VALIDITY


@pytest.mark.parametrize("from_midnight", [-LATENESS, -TICK, AT_ONCE, VALIDITY - TICK])
def test_a_permit_that_could_be_used_on_either_day_waits_for_the_new_one(from_midnight: datetime.timedelta) -> None:
    midnight = utc(2026, 11, 25, 8)
    caller = Caller(Limits(requests_per_day=2), now=midnight + from_midnight)

    assert caller.ask([NOTHING]) == []
    assert caller.pace.next_permit_time == midnight + VALIDITY


@given(
    per_minute=st.integers(1, 60_000),
    count=st.integers(1, 3),
    milliseconds=st.integers(0, 500),
)
def test_another_look_takes_nothing_from_the_time_between_two_permits(
    per_minute: int, count: int, milliseconds: int
) -> None:
    caller = Caller(Limits(requests_per_minute=per_minute))
    caller.ask([NOTHING] * count, ahead=datetime.timedelta(milliseconds=milliseconds))

    assert reconsider(caller.pace, caller.limits, NOTHING, now=START) == caller.pace


def test_a_settlement_brings_the_next_permit_forward() -> None:
    limits = Limits(requests_per_minute=60, dollars_per_10_minutes=1.0)
    caller = Caller(limits)
    caller.ask([Ask(0, 1.0)])
    caller.now += datetime.timedelta(seconds=20)
    caller.ask([Ask(0, 0.5)])
    caller.settle(caller.calls[0], Ask(0, 0.25))

    again = reconsider(caller.pace, limits, Ask(0, 0.5), now=caller.now)

    assert again.next_permit_time is not None
    assert again.next_permit_time - caller.now < datetime.timedelta(seconds=2)
    assert replace(again, next_permit_time=None) == replace(caller.pace, next_permit_time=None)


@settings(max_examples=80, deadline=None)
@given(
    limits=LIMITS,
    bursts=BURSTS,
    looks=st.lists(st.tuples(pauses, ASKS, st.lists(ASKS, max_size=12), aheads), max_size=20),
)
def test_however_often_it_is_reconsidered_no_limit_is_passed_and_nothing_waits_longer(
    limits: Limits,
    bursts: Bursts,
    looks: list[tuple[datetime.timedelta, Ask, list[Ask], datetime.timedelta]],
) -> None:
    caller = after(limits, bursts)

    for pause, like, asks, ahead in looks:
        before = caller.pace.next_permit_time
        caller.pace = reconsider(caller.pace, limits, like, now=caller.now)
        after_it = caller.pace.next_permit_time
        assert after_it is None if before is None else (after_it is not None and after_it <= before)
        caller.now += pause
        caller.ask(asks, ahead=ahead)

    if limits.requests_per_minute is not None:
        assert caller.most_requests <= limits.requests_per_minute
    if limits.input_tokens_per_minute is not None:
        assert caller.most_tokens <= limits.input_tokens_per_minute


def test_a_limit_that_was_lifted_closes_nothing() -> None:
    caller = Caller(Limits(requests_per_minute=60, requests_per_day=1))
    caller.ask([NOTHING] * 2)
    assert caller.pace.next_permit_time == utc(2026, 11, 25, 8) + VALIDITY

    again = reconsider(caller.pace, Limits(requests_per_minute=60), NOTHING, now=START)

    assert again.next_permit_time is not None
    assert again.next_permit_time <= START + datetime.timedelta(seconds=2)
