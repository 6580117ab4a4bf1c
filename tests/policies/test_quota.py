"""A call may begin within a span of VALIDITY and slack: from when its permit is due, or earlier if it is given ahead.

So calls can share a window as soon as their permits are due within its length and that span: `worst` counts those.
"""

import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policies.quota import (
    DOLLARS,
    TOKENS,
    VALIDITY,
    Ask,
    Limits,
    Pace,
    end_of_day,
    grant,
    interval,
    provider_day,
    reconsider,
    settle,
)

START = datetime.datetime(2026, 11, 24, 12, 0, 0, 123_457, tzinfo=datetime.UTC)
LATENESS = VALIDITY + datetime.timedelta(seconds=0.3)
EARLINESS = datetime.timedelta(milliseconds=200)
MINUTE = datetime.timedelta(minutes=1)
TEN_MINUTES = datetime.timedelta(minutes=10)
TICK = datetime.timedelta(microseconds=1)
AT_ONCE = datetime.timedelta()
NOTHING = Ask(0, 0.0)
CENT = 0.01

# A simulation is told by a handful of numbers; to shrink it would take minutes.
simulation = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
aheads = st.integers(0, 200).map(lambda milliseconds: datetime.timedelta(milliseconds=milliseconds))
fractions = st.lists(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=5)
pauses = (st.sampled_from([0.0, 0.2, 1.0, 59.9, 60.0, 60.8, 61.0]) | st.floats(0, 70)).map(
    lambda seconds: datetime.timedelta(seconds=seconds)
)


@dataclass
class Call:
    """A call that was permitted; `used` is what counts of it: what was reserved, or what it really used."""

    due: datetime.datetime
    asked: Ask
    used: Ask
    settled: bool = False


def one(_call: Call) -> float:
    return 1


@dataclass
class Caller:
    """Asks for permits and remembers what it got."""

    limits: Limits
    now: datetime.datetime = START
    pace: Pace = field(default_factory=Pace)
    calls: list[Call] = field(default_factory=list)

    def ask(self, asks: Sequence[Ask], *, ahead: datetime.timedelta = AT_ONCE) -> list[datetime.datetime]:
        self.pace, dues = grant(self.pace, self.limits, asks, now=self.now, ahead=ahead)
        assert all(self.now <= due <= self.now + ahead for due in dues)
        self.calls += [Call(due, ask, ask) for due, ask in zip(dues, asks, strict=False)]
        return dues

    def settle(self, call: Call, used: Ask) -> None:
        self.pace = settle(self.pace, call.asked, used, call.due, now=self.now)
        call.used, call.settled = used, True

    def worst(self, length: datetime.timedelta, amount: Callable[[Call], float]) -> float:
        """Return the largest sum over calls that may begin in one window of this length."""
        calls = sorted(self.calls, key=lambda call: call.due)
        first, total, most = 0, 0.0, 0.0
        for call in calls:
            while call.due - calls[first].due >= length + LATENESS:
                total -= amount(calls[first])
                first += 1
            total += amount(call)
            most = max(most, total)
        return most

    @property
    def most_requests(self) -> float:
        return self.worst(MINUTE, one)

    @property
    def most_tokens(self) -> float:
        return self.worst(MINUTE, lambda call: call.used.tokens)

    @property
    def most_cents(self) -> float:
        return self.worst(TEN_MINUTES, lambda call: call.used.dollars / CENT)


def keep_busy(
    caller: Caller,
    asks: Iterator[Ask],
    *,
    lasting: datetime.timedelta,
    aheads: tuple[datetime.timedelta, ...] = (AT_ONCE,),
    lateness: Sequence[float] = (0.0,),
) -> None:
    """Let schedulers with work that never ends take turns; each wakes by up to its `ahead` before a permit is due."""
    end = caller.now + lasting
    waiting = next(asks)
    for ahead, late in zip(itertools.cycle(aheads), itertools.cycle(lateness)):
        while caller.ask([waiting], ahead=ahead):
            waiting = next(asks)
            if len(caller.calls) > 200_000:
                raise AssertionError("A limit that does not limit.")
        assert caller.pace.next_permit_time is not None
        caller.now = max(caller.now, caller.pace.next_permit_time - ahead * (1 - late))
        if caller.now >= end:
            return


def used_until(caller: Caller, end: datetime.datetime, amount: Callable[[Call], float]) -> float:
    return sum(amount(call) for call in caller.calls if call.due < end)


# requests


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


# tokens and dollars


def small_asks(seed: list[float], *, tokens: int = 0, dollars: float = 0.0) -> Iterator[Ask]:
    """Yield asks of up to these amounts for ever."""
    return (Ask(round(part * tokens), part * dollars) for part in itertools.cycle([1.0, *seed]))


@settings(simulation, max_examples=12)
@given(limit=st.integers(10_000, 10_000_000), aheads=st.tuples(aheads, aheads), late=fractions, sizes=fractions)
def test_small_asks_use_the_limit_of_tokens_and_never_pass_it(
    limit: int, aheads: tuple[datetime.timedelta, ...], late: list[float], sizes: list[float]
) -> None:
    caller = Caller(Limits(input_tokens_per_minute=limit))
    lasting = 10 * MINUTE
    asks = small_asks([max(size, 0.2) for size in sizes], tokens=limit // 100)

    keep_busy(caller, asks, lasting=lasting, aheads=aheads, lateness=late)

    assert caller.most_tokens <= limit
    assert used_until(caller, START + lasting, lambda call: call.used.tokens) >= 0.95 * limit * 10


@settings(simulation, max_examples=12)
@given(limit=st.integers(1, 1_000), aheads=st.tuples(aheads, aheads), late=fractions, sizes=fractions)
def test_small_asks_use_the_limit_of_dollars_and_never_pass_it(
    limit: int, aheads: tuple[datetime.timedelta, ...], late: list[float], sizes: list[float]
) -> None:
    caller = Caller(Limits(dollars_per_10_minutes=limit))
    lasting = 10 * TEN_MINUTES
    asks = small_asks([max(size, 0.2) for size in sizes], dollars=limit / 100)

    keep_busy(caller, asks, lasting=lasting, aheads=aheads, lateness=late)

    assert caller.most_cents * CENT <= limit * (1 + 1e-6)
    assert used_until(caller, START + lasting, lambda call: call.used.dollars) >= 0.95 * limit * 10


LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(1, 60),
    input_tokens_per_minute=st.none() | st.just(100) | st.integers(100, 1_000),
    requests_per_day=st.none() | st.integers(1, 30),
    dollars_per_10_minutes=st.none() | (st.just(100) | st.integers(100, 1_000)).map(lambda cents: cents * CENT),
)
# Round amounts fill a limit exactly, where the sums of floats are least exact.
AMOUNTS = st.sampled_from([10, 20, 30, 70, 100]) | st.integers(0, 100)
ASKS = st.builds(Ask, tokens=AMOUNTS, dollars=AMOUNTS.map(lambda cents: cents * CENT))
# A pause, then asks, and how far ahead permits are given.
Bursts = list[tuple[datetime.timedelta, list[Ask], datetime.timedelta]]
BURSTS = st.lists(st.tuples(pauses | st.just(datetime.timedelta(minutes=9)), st.lists(ASKS, max_size=12), aheads))


def after(limits: Limits, bursts: Bursts) -> Caller:
    """Return a caller after this past."""
    caller = Caller(limits)
    for pause, asks, ahead in bursts:
        caller.now += pause
        caller.ask(asks, ahead=ahead)
    return caller


@settings(max_examples=80, deadline=None)
@given(limits=LIMITS, bursts=BURSTS)
def test_no_pattern_of_asks_passes_any_limit(limits: Limits, bursts: Bursts) -> None:
    caller = after(limits, bursts)

    if limits.requests_per_minute is not None:
        assert caller.most_requests <= limits.requests_per_minute
    if limits.input_tokens_per_minute is not None:
        assert caller.most_tokens <= limits.input_tokens_per_minute
    if limits.dollars_per_10_minutes is not None:
        assert caller.most_cents * CENT <= limits.dollars_per_10_minutes + 1e-6
    if limits.requests_per_day is not None:
        assert max(per_day(caller.calls).values(), default=0) <= limits.requests_per_day


def test_an_ask_above_the_limit_waits_for_an_empty_window() -> None:
    caller = Caller(Limits(input_tokens_per_minute=100))
    caller.ask([Ask(1, 0.0)])

    assert caller.ask([Ask(500, 0.0)]) == []
    assert caller.pace.next_permit_time is not None
    caller.now = caller.pace.next_permit_time
    assert TOKENS.total(caller.pace.tokens, caller.now) == 0
    caller.now += datetime.timedelta(seconds=1)
    assert caller.ask([Ask(500, 0.0)]) == [caller.now]


# order, and the time of the next


def test_no_ask_is_overtaken_by_one_that_would_fit() -> None:
    caller = Caller(Limits(input_tokens_per_minute=100))

    assert caller.ask([Ask(60, 0.0), Ask(60, 0.0), Ask(10, 0.0)]) == [START]
    told = caller.pace.next_permit_time
    assert told is not None
    caller.now = told - EARLINESS
    assert caller.ask([Ask(60, 0.0), Ask(10, 0.0)], ahead=EARLINESS) == [told, told]


@settings(max_examples=80, deadline=None)
@given(limits=LIMITS, bursts=BURSTS, asks=st.lists(ASKS, min_size=1, max_size=20), ahead=aheads)
def test_permits_are_due_in_the_order_of_the_asks(
    limits: Limits,
    bursts: Bursts,
    asks: list[Ask],
    ahead: datetime.timedelta,
) -> None:
    caller = after(limits, bursts)
    if not caller.ask(asks[:1]) and caller.pace.next_permit_time is not None:
        # Where the first ask is due a little later, others may fit at once.
        caller.now = max(caller.now, caller.pace.next_permit_time - ahead / 2)

    dues = caller.ask(asks, ahead=ahead)

    assert dues == sorted(dues)


@settings(max_examples=100, deadline=None)
@given(limits=LIMITS, bursts=BURSTS, ask=ASKS, part=st.floats(0, 1))
def test_the_time_of_the_next_permit_is_the_first_at_which_it_is_given(
    limits: Limits,
    bursts: Bursts,
    ask: Ask,
    part: float,
) -> None:
    caller = after(limits, bursts)
    before = caller.pace
    if caller.ask([ask]):
        return

    told = caller.pace.next_permit_time
    assert told is not None
    assert told > caller.now
    for earlier in (told - TICK, caller.now + part * (told - TICK - caller.now)):
        assert grant(before, limits, [ask], now=earlier, ahead=AT_ONCE)[1] == []
    for pace in (before, caller.pace):
        assert grant(pace, limits, [ask], now=told, ahead=AT_ONCE)[1] == [told]


# settlement


@settings(max_examples=60, deadline=None)
@given(
    limits=st.builds(
        Limits,
        input_tokens_per_minute=st.integers(100, 400),
        dollars_per_10_minutes=st.integers(100, 400).map(lambda cents: cents * CENT),
    ),
    bursts=BURSTS,
    settlements=st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1)), max_size=30),
)
def test_settled_for_less_or_never_settled_the_real_usage_keeps_the_limits(
    limits: Limits,
    bursts: Bursts,
    settlements: list[tuple[int, float]],
) -> None:
    caller = Caller(limits)
    parts = iter(settlements)
    for pause, asks, ahead in bursts:
        caller.now += pause
        caller.ask(asks, ahead=ahead)
        unsettled = [call for call in caller.calls if not call.settled]
        for (number, part), _ in zip(parts, range(3), strict=False):
            if unsettled:
                call = unsettled.pop(number % len(unsettled))
                caller.settle(call, Ask(int(call.asked.tokens * part), call.asked.dollars * part))
        assert counted_at_least_what_was_used(caller)

    assert caller.most_tokens <= (limits.input_tokens_per_minute or 0)
    assert caller.most_cents * CENT <= (limits.dollars_per_10_minutes or 0.0) + 1e-6


def counted_at_least_what_was_used(caller: Caller) -> bool:
    """Say whether all counts that may still share a window with a call permitted now."""
    tokens = sum(call.used.tokens for call in caller.calls if call.due > caller.now - MINUTE - LATENESS)
    dollars = sum(call.used.dollars for call in caller.calls if call.due > caller.now - TEN_MINUTES - LATENESS)
    return (
        TOKENS.total(caller.pace.tokens, caller.now) >= tokens
        and DOLLARS.total(caller.pace.dollars, caller.now) >= dollars - 1e-6
    )


def test_what_a_call_did_not_use_is_free_at_once() -> None:
    caller = Caller(Limits(input_tokens_per_minute=100, dollars_per_10_minutes=1.0))
    caller.ask([Ask(100, 1.0)])
    assert caller.ask([Ask(90, 0.75)]) == []
    caller.now += datetime.timedelta(seconds=20)

    caller.settle(caller.calls[0], Ask(10, 0.25))

    assert caller.ask([Ask(91, 0.0)]) == []
    assert caller.ask([Ask(0, 0.8)]) == []
    assert caller.ask([Ask(90, 0.75)]) == [caller.now]


def test_what_a_call_used_beyond_its_ask_counts_too() -> None:
    caller = Caller(Limits(input_tokens_per_minute=100))
    caller.ask([Ask(10, 0.0)])

    caller.settle(caller.calls[0], Ask(95, 0.0))

    assert caller.ask([Ask(6, 0.0)]) == []
    assert caller.ask([Ask(5, 0.0)]) == [START]


@given(
    asks=st.lists(ASKS, min_size=1, max_size=5),
    used=ASKS,
    times=st.integers(1, 5),
    pause=pauses | st.integers(0, 700).map(lambda seconds: datetime.timedelta(seconds=seconds)),
)
def test_a_settlement_never_frees_more_than_was_reserved(
    asks: list[Ask], used: Ask, times: int, pause: datetime.timedelta
) -> None:
    caller = Caller(Limits())
    caller.ask(asks)
    caller.now += pause
    tokens, dollars = TOKENS.total(caller.pace.tokens, caller.now), DOLLARS.total(caller.pace.dollars, caller.now)

    for _ in range(times):
        caller.settle(caller.calls[0], Ask(min(used.tokens, asks[0].tokens), min(used.dollars, asks[0].dollars)))

    assert 0 <= TOKENS.total(caller.pace.tokens, caller.now) <= tokens
    assert 0 <= DOLLARS.total(caller.pace.dollars, caller.now) <= dollars


def test_a_reservation_that_is_never_settled_ages_out_and_a_late_settlement_changes_nothing() -> None:
    caller = Caller(Limits(input_tokens_per_minute=100, dollars_per_10_minutes=1.0))
    caller.ask([Ask(100, 1.0)])

    caller.now = START + datetime.timedelta(seconds=62)
    assert TOKENS.total(caller.pace.tokens, caller.now) == 0
    caller.settle(caller.calls[0], Ask(50, 1.0))
    assert TOKENS.total(caller.pace.tokens, caller.now) == 0

    caller.now = START + datetime.timedelta(seconds=611)
    assert DOLLARS.total(caller.pace.dollars, caller.now) == 0
    assert caller.ask([Ask(100, 1.0)]) == [caller.now]


# days


def per_day(calls: Iterable[Call]) -> dict[datetime.date, int]:
    """Count for each day the calls that may begin in it."""
    counts: dict[datetime.date, int] = {}
    for call in calls:
        for day in {provider_day(call.due - EARLINESS), provider_day(call.due + LATENESS)}:
            counts[day] = counts.get(day, 0) + 1
    return counts


def utc(*when: int) -> datetime.datetime:
    return datetime.datetime(*when, tzinfo=datetime.UTC)  # type: ignore[misc,arg-type]


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


# another look at the next permit


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
