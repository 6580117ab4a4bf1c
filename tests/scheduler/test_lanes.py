import datetime
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.breaker import Breaker, BreakerRules, Health
from policies.quota import Limits, Pace
from scheduler.lanes import CLAIM_AHEAD, CLAIM_WITHOUT_PACE, Closure, Lane, after_health, after_throttling
from scheduler.records import AttemptId

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)
LANE = Lane(name="gemini/gemini-3.8-flash")
ATTEMPT = AttemptId("01990000-0000-7000-8000-000000000000", 2)
PROBE = (ATTEMPT.job_id, ATTEMPT.attempt)
RULES = BreakerRules()
PACED = Limits(requests_per_minute=60)

draws = st.floats(0, 1, exclude_max=True)
spans = st.integers(0, 100_000).map(lambda seconds: datetime.timedelta(seconds=seconds))


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def paced(next_permit: float | None, limits: Limits = PACED) -> Lane:
    pace = Pace(next_permit_time=None if next_permit is None else after(next_permit))
    return replace(LANE, limits=limits, pace=pace)


def throttled(
    lane: Lane, *, seconds: float | None = None, stop: str = "", now: datetime.datetime = NOW, draw: float = 0.0
) -> Lane:
    provider_time = None if seconds is None else datetime.timedelta(seconds=seconds)
    return after_throttling(lane, provider_time=provider_time, stop=stop, now=now, draw=draw)


# why no call may begin


def test_a_new_lane_takes_calls() -> None:
    assert LANE.closure(NOW) is None


def test_of_several_closures_the_one_that_lasts_longest_is_named() -> None:
    everything = replace(
        LANE,
        paused=True,
        stopped_reason="The billing is depleted.",
        breaker=Breaker(failures=5, open_until=after(60)),
        closed_until=after(3_600),
    )
    not_paused = replace(everything, paused=False)
    not_stopped = replace(not_paused, stopped_reason="")
    not_broken = replace(not_stopped, breaker=Breaker(failures=4))

    assert [lane.closure(NOW) for lane in (everything, not_paused, not_stopped, not_broken)] == [
        (Closure.PAUSED, None),
        (Closure.STOPPED, None),
        (Closure.BREAKER, after(3_600)),
        (Closure.QUOTA, after(3_600)),
    ]


def test_a_breaker_that_waits_for_its_probe_closes_the_lane_for_a_time_that_nobody_knows() -> None:
    lane = replace(LANE, breaker=Breaker(failures=5, open_until=NOW))

    assert lane.closure(NOW) == (Closure.BREAKER, None)


def test_the_providers_time_is_over_when_it_has_come() -> None:
    lane = replace(LANE, closed_until=after(1))

    assert lane.closure(after(0.999_999)) == (Closure.QUOTA, after(1))
    assert lane.closure(after(1)) is None


@pytest.mark.parametrize(("next_permit", "waits"), [(None, False), (-1, False), (0, False), (0.5, True)])
def test_a_lane_waits_for_its_pace_until_the_next_permit_is_due(next_permit: float | None, waits: bool) -> None:
    lane = paced(next_permit)

    assert lane.waits_for_pace(NOW) == (lane.pace.next_permit_time if waits else None)


def test_a_lane_whose_limits_were_lifted_waits_for_no_pace() -> None:
    assert paced(60, Limits(max_in_flight=3)).waits_for_pace(NOW) is None


# when jobs may be claimed


@pytest.mark.parametrize(
    "lane",
    [
        replace(LANE, paused=True),
        replace(LANE, stopped_reason="The model is retired."),
        replace(LANE, breaker=Breaker(failures=5, open_until=NOW, probe=PROBE)),
    ],
)
def test_a_pause_a_stop_and_a_probe_under_way_end_with_an_event_not_with_time(lane: Lane) -> None:
    assert lane.claim_time(probe_runs=True) is None


def test_a_probe_that_does_not_run_any_more_leaves_its_place() -> None:
    lane = replace(LANE, breaker=Breaker(failures=5, open_until=NOW, probe=PROBE))

    assert lane.claim_time(probe_runs=False) == NOW


@pytest.mark.parametrize(
    ("lane", "time"),
    [
        (LANE, LONG_AGO),
        (replace(LANE, closed_until=after(7)), after(7)),
        (replace(LANE, breaker=Breaker(failures=5, open_until=after(9))), after(9)),
        (paced(None), LONG_AGO),
        (paced(10), after(10) - CLAIM_AHEAD),
        (paced(10, Limits(max_in_flight=1)), LONG_AGO),
        (replace(paced(10), closed_until=after(6)), after(7)),
        (replace(paced(10), closed_until=after(8)), after(8)),
    ],
)
def test_jobs_are_claimed_from_the_last_of_all_times_on(lane: Lane, time: datetime.datetime) -> None:
    assert lane.claim_time(probe_runs=False) == time


@given(closed=st.none() | spans, opened=st.none() | spans, permit=st.none() | spans, seconds=spans)
def test_no_job_is_claimed_while_the_provider_wants_no_call(
    closed: datetime.timedelta | None,
    opened: datetime.timedelta | None,
    permit: datetime.timedelta | None,
    seconds: datetime.timedelta,
) -> None:
    lane = replace(
        LANE,
        limits=PACED,
        closed_until=None if closed is None else NOW + closed,
        breaker=Breaker() if opened is None else Breaker(failures=5, open_until=NOW + opened),
        pace=Pace(next_permit_time=None if permit is None else NOW + permit),
    )
    now = NOW + seconds

    claim_time = lane.claim_time(probe_runs=False)

    assert claim_time is not None
    is_half_open = not lane.breaker.is_closed and not lane.breaker.is_open(now)
    takes_calls = lane.closure(now) is None or (is_half_open and (closed is None or now >= NOW + closed))
    admits_soon = lane.waits_for_pace(now + CLAIM_AHEAD) is None
    assert (claim_time <= now) == (takes_calls and admits_soon)


# how many jobs may be claimed


def test_a_lane_without_limits_gives_any_number() -> None:
    assert LANE.claimable(in_flight=1_000, unpermitted=1_000, now=NOW) is None


@pytest.mark.parametrize(("in_flight", "claimable"), [(0, 3), (2, 1), (3, 0), (5, 0)])
def test_no_more_jobs_are_in_flight_than_the_limit_allows(in_flight: int, claimable: int) -> None:
    lane = replace(LANE, limits=Limits(max_in_flight=3))

    assert lane.claimable(in_flight=in_flight, unpermitted=0, now=NOW) == claimable


def test_a_breaker_that_is_not_closed_lets_one_probe_through() -> None:
    probing = replace(LANE, breaker=Breaker(failures=5, open_until=NOW))
    full = replace(probing, limits=Limits(max_in_flight=2))

    assert probing.claimable(in_flight=7, unpermitted=0, now=NOW) == 1
    assert full.claimable(in_flight=2, unpermitted=0, now=NOW) == 0


@pytest.mark.parametrize(
    ("per_minute", "next_permit", "unpermitted", "claimable"),
    [
        # One each 1.014 s: now, after 1.014 s and after 2.027 s.
        (60, None, 0, 3),
        (60, -100, 0, 3),
        (60, 0.5, 0, 3),
        (60, 1.5, 0, 2),
        (60, 3, 0, 1),
        (60, 4, 0, 0),
        (60, 300, 0, 0),
        (60, None, 2, 1),
        (60, None, 5, 0),
        (1, None, 0, 1),
        (6_080, None, 0, 301),
    ],
)
def test_a_paced_lane_claims_what_it_will_admit_in_three_seconds(
    per_minute: int, next_permit: float | None, unpermitted: int, claimable: int
) -> None:
    lane = paced(next_permit, Limits(requests_per_minute=per_minute))

    assert lane.claimable(in_flight=9, unpermitted=unpermitted, now=NOW) == claimable


@pytest.mark.parametrize(
    "limits",
    [Limits(input_tokens_per_minute=1), Limits(requests_per_day=1), Limits(dollars_per_10_minutes=1.0)],
)
def test_a_lane_whose_pace_does_not_tell_lets_some_wait_for_a_permit(limits: Limits) -> None:
    lane = replace(LANE, limits=limits)

    assert lane.claimable(in_flight=99, unpermitted=2, now=NOW) == CLAIM_WITHOUT_PACE - 2


def test_the_tightest_bound_counts() -> None:
    lane = replace(LANE, limits=Limits(requests_per_minute=6_000, max_in_flight=10))

    assert lane.claimable(in_flight=4, unpermitted=0, now=NOW) == 6
    assert lane.claimable(in_flight=4, unpermitted=295, now=NOW) == 2


# what the provider's answers make of it


def test_a_429_closes_the_lane_for_exactly_the_providers_time() -> None:
    lane = throttled(LANE, seconds=26.5, draw=0.9)

    assert lane == replace(LANE, closed_until=after(26.5))


@given(times=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10_000)), min_size=1, max_size=5), draw=draws)
def test_of_several_provider_times_the_longest_wins(times: list[tuple[float, float]], draw: float) -> None:
    lane = LANE
    for came, seconds in times:
        lane = throttled(lane, seconds=seconds, now=after(came), draw=draw)

    assert lane.closed_until == max(after(came) + datetime.timedelta(seconds=seconds) for came, seconds in times)


def test_429s_that_name_no_time_back_off_from_thirty_seconds_to_ten_minutes() -> None:
    lane, now, waits = LANE, NOW, []
    for _ in range(7):
        lane = throttled(lane, now=now)
        assert lane.closed_until is not None
        waits.append((lane.closed_until - now).total_seconds())
        now = lane.closed_until

    assert waits == [30, 60, 120, 240, 480, 600, 600]


@given(throttles=st.integers(0, 100), draw=draws)
def test_a_backoff_gets_up_to_a_fifth_more(throttles: int, draw: float) -> None:
    lane = replace(LANE, throttles=throttles)

    bare, jittered = throttled(lane).closed_until, throttled(lane, draw=draw).closed_until

    assert bare is not None
    assert jittered is not None
    assert bare <= jittered <= NOW + 1.2 * (bare - NOW)


@given(count=st.integers(1, 30), apart=st.floats(0, 1))
def test_calls_that_were_under_way_when_the_lane_was_closed_do_not_raise_the_backoff(count: int, apart: float) -> None:
    lane = LANE
    for number in range(count):
        lane = throttled(lane, now=after(number * apart))

    assert lane.throttles == 1
    assert lane.closed_until == after((count - 1) * apart + 30)


def test_a_429_without_a_time_does_not_shorten_the_providers_own() -> None:
    assert throttled(throttled(LANE, seconds=3_600)).closed_until == after(3_600)
    assert throttled(throttled(LANE, seconds=5)).closed_until == after(30)


def test_what_only_a_person_can_mend_stops_the_lane() -> None:
    lane = throttled(LANE, seconds=26, stop="The billing is depleted.")

    assert lane.closure(after(1_000_000)) == (Closure.STOPPED, None)


def test_an_answer_ends_the_row_of_429s_and_of_failures() -> None:
    lane = replace(LANE, throttles=4, breaker=Breaker(failures=4))

    assert after_health(lane, ATTEMPT, Health.ANSWERED, now=NOW, rules=RULES) == LANE


@pytest.mark.parametrize("health", [Health.UNKNOWN, Health.FAILED])
def test_what_is_no_answer_leaves_the_row_of_429s(health: Health) -> None:
    lane = after_health(replace(LANE, throttles=4), ATTEMPT, health, now=NOW, rules=RULES)

    assert lane.throttles == 4
    assert lane.breaker.failures == (health is Health.FAILED)


def test_the_attempt_that_probes_is_known_by_its_job_and_its_number() -> None:
    lane = replace(LANE, breaker=Breaker(failures=5, open_until=NOW, probe=PROBE))
    earlier = ATTEMPT._replace(attempt=1)

    assert after_health(lane, earlier, Health.ANSWERED, now=NOW, rules=RULES).breaker == lane.breaker
    assert after_health(lane, ATTEMPT, Health.ANSWERED, now=NOW, rules=RULES).breaker == Breaker()
