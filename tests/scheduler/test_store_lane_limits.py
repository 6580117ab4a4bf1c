"""Conformance of the stores: how much of a lane is claimed now, and when the rest."""

import dataclasses
import datetime
from collections.abc import Callable

import pytest
from stores import CLIENT, LANE, Age, back, change, claim, failure, insert, lane, lost, new_job, submit, success

from policies.breaker import Breaker
from policies.quota import Limits, Pace
from scheduler.jobs import Stage
from scheduler.lanes import Lane
from scheduler.ports import Store, StoreClock
from scheduler.records import ClaimedJob

SECOND = datetime.timedelta(seconds=1)
OTHER = "gemini/gemini-3.5-flash"


async def heads(store: Store) -> list[str]:
    return [head.lane for head in (await store.lane_heads(thorough=False)).heads]


async def next_time(store: Store) -> datetime.datetime | None:
    return (await store.lane_heads(thorough=False)).next_time


async def begin_calls(store: Store, time: StoreClock, *jobs: ClaimedJob) -> None:
    await store.note_stages({job.attempt_id: (Stage.GEMINI_ANALYZING, time.now()) for job in jobs})


def close_until(time: datetime.datetime) -> Callable[[Lane], tuple[Lane, None]]:
    return lambda lane: (dataclasses.replace(lane, closed_until=time), None)


@pytest.mark.parametrize("closed", [{"paused": True}, {"stopped_reason": "Billing is depleted."}])
async def test_nothing_is_claimed_of_a_lane_that_is_paused_or_stopped(
    store: Store, time: StoreClock, closed: dict[str, object]
) -> None:
    await submit(store, time)
    await insert(store, CLIENT, [new_job(time, priority=3, model="gemini-3.5-flash")])
    await change(store, **closed)

    assert await heads(store) == [OTHER]
    assert await next_time(store) is None
    for thorough in (False, True):
        assert await claim(store, thorough=thorough) == []

    await change(store, paused=False, stopped_reason="")
    assert await heads(store) == [LANE, OTHER]
    assert len(await claim(store)) == 1


async def test_nothing_is_claimed_of_a_closed_lane_before_its_time(store: Store, time: StoreClock, age: Age) -> None:
    await submit(store, time)
    until = time.now() + 60 * SECOND
    await change(store, closed_until=until)

    assert await heads(store) == []
    assert await next_time(store) == until
    assert await claim(store) == []

    await age(61 * SECOND)
    assert await heads(store) == [LANE]
    assert await next_time(store) is None
    assert len(await claim(store)) == 1


async def test_the_next_time_is_the_earliest_of_lanes_where_a_job_waits(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await insert(store, CLIENT, [new_job(time, model="gemini-3.5-flash")])
    await store.add_lanes(["gemini/idle"])
    for name, seconds in ((LANE, 90), (OTHER, 60), ("gemini/idle", 30)):
        await store.change_lane(name, close_until(time.now() + seconds * SECOND))

    next_one = await next_time(store)

    assert next_one is not None
    assert 50 * SECOND < next_one - time.now() <= 60 * SECOND


async def test_nothing_is_claimed_while_the_breaker_is_open(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    until = time.now() + 300 * SECOND
    await change(store, breaker=Breaker(failures=5, open_until=until))

    assert await heads(store) == []
    assert await next_time(store) == until
    assert await claim(store) == []


async def test_a_half_open_breaker_lets_a_single_probe_through(store: Store, time: StoreClock) -> None:
    first, *_ = await submit(store, time, 2, 2, 2)
    await change(store, breaker=Breaker(failures=5, open_until=time.now() - SECOND))
    assert await heads(store) == [LANE]

    [probe] = await claim(store)

    assert probe.attempt_id.job_id == first
    assert (await lane(store)).breaker.probe == tuple(probe.attempt_id)
    assert await heads(store) == []
    assert await next_time(store) is None
    assert await claim(store) == []


@pytest.mark.parametrize("end", ["lost", "released", "cancelled", "expired"])
async def test_a_probe_without_a_verdict_leaves_its_place_to_the_next(store: Store, time: StoreClock, end: str) -> None:
    await submit(store, time, 2, 2)
    await change(store, breaker=Breaker(failures=5, open_until=time.now() - SECOND))
    [probe] = await claim(store)

    match end:
        case "lost":
            await store.give_back([lost(probe.attempt_id, time)])
        case "released":
            await store.give_back([back(probe.attempt_id, time, after_seconds=60)])
        case "cancelled":
            await store.cancel(CLIENT, [probe.attempt_id.job_id])
        case _:
            await store.finish([failure(probe.attempt_id, time)])

    assert await heads(store) == [LANE]
    [second] = await claim(store)
    assert (await lane(store)).breaker.probe == tuple(second.attempt_id)
    assert await claim(store) == []


async def test_a_probe_of_the_same_job_is_another_attempt(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await change(store, breaker=Breaker(failures=5, open_until=time.now() - SECOND))
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])

    [second] = await claim(store)

    assert second.attempt_id == (first.attempt_id.job_id, 2)
    assert (await lane(store)).breaker.probe == tuple(second.attempt_id)


async def test_an_attempt_after_the_probe_holds_no_place(store: Store, time: StoreClock) -> None:
    job_id, _ = await submit(store, time, 2, 2)
    for _ in range(2):
        [job] = await claim(store, 1)
        if job.attempt_id.attempt == 1:
            await store.give_back([lost(job.attempt_id, time)])

    await change(store, breaker=Breaker(failures=5, open_until=time.now() - SECOND, probe=(job_id, 1)))
    assert await heads(store) == [LANE]
    await change(store, breaker=Breaker(failures=5, open_until=time.now() - SECOND, probe=(job_id, 2)))
    assert await heads(store) == []


async def test_a_closed_breaker_has_no_probe(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    await change(store, breaker=Breaker(failures=4))

    assert len(await claim(store)) == 2
    assert (await lane(store)).breaker == Breaker(failures=4)


async def test_a_success_ends_the_streaks_of_a_lane_whose_breaker_is_closed(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await store.add_lanes([OTHER])
    for name in (LANE, OTHER):
        await store.change_lane(
            name, lambda known: (dataclasses.replace(known, throttles=2, breaker=Breaker(failures=4)), None)
        )
    [job] = await claim(store)

    await store.finish([success(job.attempt_id, time)])

    other, mine = sorted(await store.lanes(), key=lambda each: each.name)
    assert (mine.throttles, mine.breaker) == (0, Breaker())
    assert (other.throttles, other.breaker) == (2, Breaker(failures=4))


async def test_a_failure_ends_no_streak_and_no_success_closes_a_breaker(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    failed, succeeded = await claim(store)
    await change(store, throttles=2, breaker=Breaker(failures=4))
    await store.finish([failure(failed.attempt_id, time)])
    assert (await lane(store)).breaker == Breaker(failures=4)

    opened = Breaker(failures=5, open_until=time.now() + 300 * SECOND)
    await change(store, breaker=opened)
    await store.finish([success(succeeded.attempt_id, time)])

    assert (await lane(store)).breaker == opened


async def test_no_more_run_than_may_be_in_flight(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 5)
    await change(store, limits=Limits(max_in_flight=2))

    first, second = await claim(store)
    assert not first.permit_required
    assert await heads(store) == []
    assert await next_time(store) is None
    assert await claim(store) == []

    await begin_calls(store, time, first, second)
    assert await claim(store) == []
    await store.finish([success(first.attempt_id, time)])
    assert await heads(store) == [LANE]
    assert len(await claim(store)) == 1

    await change(store, limits=Limits(max_in_flight=1))
    assert await claim(store) == []


async def test_a_limit_of_one_lane_does_not_count_what_runs_in_another(store: Store, time: StoreClock) -> None:
    await insert(store, CLIENT, [new_job(time, model="gemini-3.5-flash") for _ in range(2)])
    await submit(store, time, 2, 2)
    assert len(await claim(store, lane=OTHER)) == 2

    await change(store, limits=Limits(max_in_flight=1))

    assert len(await claim(store)) == 1


async def test_a_lane_with_a_pace_claims_what_it_will_admit_in_three_seconds(
    store: Store, time: StoreClock, age: Age
) -> None:
    # A permit each 60.8 s / 40 = 1.52 s: in 1 s, and in 2.52 s.
    await submit(store, time, *[2] * 9)
    await change(store, limits=Limits(requests_per_minute=40), pace=Pace(next_permit_time=time.now() + 1 * SECOND))

    first, second = await claim(store)
    assert first.permit_required
    assert await heads(store) == []
    assert await claim(store) == []

    # What has begun its call has had its permit.
    await begin_calls(store, time, first)
    assert len(await claim(store)) == 1
    await store.finish([success(second.attempt_id, time)])
    assert len(await claim(store)) == 1
    assert await claim(store) == []


async def test_a_lane_claims_nothing_until_three_seconds_before_its_next_permit(
    store: Store, time: StoreClock, age: Age
) -> None:
    await submit(store, time, 2, 2)
    due = time.now() + 60 * SECOND
    await change(store, limits=Limits(requests_per_minute=1), pace=Pace(next_permit_time=due))

    assert await heads(store) == []
    assert await next_time(store) == due - 3 * SECOND
    assert await claim(store) == []

    await age(58 * SECOND)
    assert await heads(store) == [LANE]
    assert len(await claim(store)) == 1
    assert await claim(store) == []


async def test_a_pace_that_has_not_begun_admits_at_once(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 9)
    await change(store, limits=Limits(requests_per_minute=60))

    # Now, in 1.01 s, and in 2.03 s.
    assert len(await claim(store)) == 3


async def test_a_pace_without_a_limit_by_the_minute_claims_a_few_ahead(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 40)
    await change(store, limits=Limits(input_tokens_per_minute=1_000))

    claimed = await claim(store, 40)

    assert len(claimed) == 32
    assert all(job.permit_required for job in claimed)
    assert await claim(store, 40) == []


async def test_the_tightest_limit_holds(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 9)

    await change(store, limits=Limits(requests_per_day=100, max_in_flight=2))
    assert len(await claim(store)) == 2
    await change(store, limits=Limits(requests_per_minute=60, max_in_flight=9))
    assert len(await claim(store)) == 1
    await change(store, limits=Limits(max_in_flight=9), breaker=Breaker(failures=5, open_until=time.now() - SECOND))
    assert len(await claim(store)) == 1


async def test_next_permit_time_means_nothing_without_a_limit(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await change(store, pace=Pace(next_permit_time=time.now() + 60 * SECOND))

    [job] = await claim(store)

    assert not job.permit_required
