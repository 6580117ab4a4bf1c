"""Conformance of the stores: jobs that may have killed an executor never share one."""

import datetime

from stores import CLIENT, LANE, back, change, claim, insert, lane, lost, new_job, running_job, see, submit, success

from policies.breaker import Breaker
from policies.quota import Limits
from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import Slots


async def suspect(store: Store, time: StoreClock, count: int) -> list[str]:
    """Submit jobs whose first executor died while it prepared them."""
    submitted = await submit(store, time, *[2] * count)
    claimed = await claim(store, count, executor_id="dead")
    await store.give_back([lost(job.attempt_id, time, died_preparing=True) for job in claimed])
    return submitted


async def deal(store: Store, **counts: int) -> list[tuple[str, str]]:
    """Claim for these executors; return who got which job."""
    slots = [Slots(executor_id, 1, count) for executor_id, count in counts.items()]
    claimed = await store.claim(LANE, slots, max_rank=3, thorough=False)
    return [(job.attempt_id.job_id, job.executor_id) for job in claimed]


async def test_deaths_are_counted_only_where_the_executor_died_preparing(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    for died in (True, False, True):
        [job] = await claim(store)
        await store.give_back([lost(job.attempt_id, time, died_preparing=died)])

    [job] = await claim(store)

    assert await store.find_running([job.attempt_id]) == {job.attempt_id: running_job(preparing_deaths=2)}


async def test_suspects_are_dealt_to_different_executors(store: Store, time: StoreClock) -> None:
    first, second = await suspect(store, time, 2)

    assert await deal(store, e1=3, e2=3) == [(first, "e1"), (second, "e2")]


async def test_an_executor_that_runs_a_suspect_gets_no_other_one(store: Store, time: StoreClock) -> None:
    first, second = await suspect(store, time, 2)
    assert await deal(store, e1=1) == [(first, "e1")]

    assert await deal(store, e1=2) == []
    assert (await see(store, second)).state is JobState.QUEUED
    assert await deal(store, e1=2, e2=1) == [(second, "e2")]


async def test_slots_that_no_suspect_may_have_are_for_the_jobs_behind_it(store: Store, time: StoreClock) -> None:
    first, second, third = await suspect(store, time, 3)
    normal, low = await submit(store, time, 2, 3)

    assert await deal(store, e1=2) == [(first, "e1"), (normal, "e1")]
    assert await deal(store, e1=3) == [(low, "e1")]
    assert await deal(store, e2=1, e3=1) == [(second, "e2"), (third, "e3")]


async def test_a_suspect_takes_its_turn_among_the_others(store: Store, time: StoreClock) -> None:
    first, second = await suspect(store, time, 2)
    low, high, other_high = await submit(store, time, 3, 1, 1)

    assert await deal(store, e1=3, e2=2) == [
        (high, "e1"),
        (other_high, "e2"),
        (first, "e1"),
        (second, "e2"),
        (low, "e1"),
    ]


async def test_a_suspect_that_found_no_slot_is_the_first_when_there_is_one(store: Store, time: StoreClock) -> None:
    first, second = await suspect(store, time, 2)
    normal, last = await submit(store, time, 2, 2)
    [suspected, other] = await claim(store, 2)
    assert [suspected.attempt_id.job_id, other.attempt_id.job_id] == [first, normal]

    await store.finish([success(suspected.attempt_id, time)])

    assert await deal(store, e1=2) == [(second, "e1"), (last, "e1")]


async def test_suspects_of_one_lane_keep_those_of_another_away(store: Store, time: StoreClock) -> None:
    [first] = await suspect(store, time, 1)
    other_lane = "gemini/gemini-3.5-flash"
    [second] = await insert(store, CLIENT, [new_job(time, model="gemini-3.5-flash")])
    [dead] = await claim(store, lane=other_lane, executor_id="dead")
    await store.give_back([lost(dead.attempt_id, time, died_preparing=True)])
    assert await deal(store, e1=1) == [(first, "e1")]

    assert await claim(store, lane=other_lane, executor_id="e1") == []
    [job] = await claim(store, lane=other_lane, executor_id="e2")
    assert job.attempt_id.job_id == second


async def test_a_lane_takes_no_more_because_of_suspects(store: Store, time: StoreClock) -> None:
    first, _ = await suspect(store, time, 2)
    normal, _ = await submit(store, time, 2, 2)
    await change(store, limits=Limits(max_in_flight=2))

    assert await deal(store, e1=5) == [(first, "e1"), (normal, "e1")]


async def test_the_probe_is_the_job_that_was_claimed_behind_a_suspect(store: Store, time: StoreClock) -> None:
    first, _ = await suspect(store, time, 2)
    [normal] = await submit(store, time)
    assert await deal(store, e1=1) == [(first, "e1")]
    await change(store, breaker=Breaker(failures=5, open_until=time.now() - datetime.timedelta(seconds=1)))

    [probe] = await claim(store)

    assert probe.attempt_id.job_id == normal
    assert (await lane(store)).breaker.probe == tuple(probe.attempt_id)


async def test_a_suspect_that_was_given_back_again_is_one_still(store: Store, time: StoreClock) -> None:
    first, second = await suspect(store, time, 2)
    [job] = await claim(store, 1)
    await store.give_back([back(job.attempt_id, time)])

    assert await deal(store, e1=3) == [(first, "e1")]
    assert await deal(store, e2=3) == [(second, "e2")]
