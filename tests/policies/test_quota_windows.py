import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from quota_callers import (
    ASKS,
    AT_ONCE,
    BURSTS,
    CENT,
    EARLINESS,
    LATENESS,
    LIMITS,
    MINUTE,
    START,
    TEN_MINUTES,
    TICK,
    Bursts,
    Caller,
    after,
    aheads,
    fractions,
    keep_busy,
    pauses,
    per_day,
    simulation,
    small_asks,
    used_until,
)

from policies.quota import DOLLARS, TOKENS, Ask, Limits, grant


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
