"""Conformance of the stores: who gets which job, and in which order."""

import asyncio
import datetime
from collections.abc import Sequence

from stores import CLIENT, LANE, Age, back, claim, insert, new_job, see, submit, success

from scheduler.jobs import JobState, Stage
from scheduler.ports import Store, StoreClock
from scheduler.records import ClaimedJob, Slots


def ids(claimed: Sequence[ClaimedJob]) -> list[str]:
    return [job.attempt_id.job_id for job in claimed]


async def test_jobs_are_claimed_by_priority_then_in_the_order_of_submission(store: Store, time: StoreClock) -> None:
    low, normal, high, second_high = await submit(store, time, 3, 2, 1, 1)

    claimed = await claim(store)

    assert ids(claimed) == [high, second_high, normal, low]


async def test_a_claim_takes_no_more_than_its_slots_and_no_worse_rank_than_it_may(
    store: Store, time: StoreClock
) -> None:
    first, second, normal, low = await submit(store, time, 1, 1, 2, 3)

    assert ids(await store.claim(LANE, [Slots("e1", 1, 1)], max_rank=3, thorough=False)) == [first]
    assert ids(await store.claim(LANE, [Slots("e1", 1, 9)], max_rank=1, thorough=False)) == [second]
    assert ids(await store.claim(LANE, [Slots("e1", 1, 9)], max_rank=2, thorough=True)) == [normal]
    assert ids(await store.claim(LANE, [], max_rank=3, thorough=False)) == []
    assert ids(await store.claim(LANE, [Slots("e1", 1, 9)], max_rank=3, thorough=True)) == [low]


async def test_a_claimed_job_is_running_with_all_that_its_executor_needs(store: Store, time: StoreClock) -> None:
    submitted = new_job(time, prompt="Which one?")
    await store.insert_jobs(CLIENT, [submitted])

    [job] = await claim(store, session=7)
    seen = await see(store, submitted.job_id)

    assert (job.attempt_id.job_id, job.attempt_id.attempt) == (submitted.job_id, 1)
    assert (job.executor_id, job.session, job.lane, job.client_id) == ("e1", 7, LANE, CLIENT)
    assert (job.step, job.retry_count) == (1, 0)
    assert (job.spec, job.traceparent) == (submitted.spec, submitted.traceparent)
    assert job.queued_time == submitted.create_time
    assert (seen.state, seen.attempt, seen.executor_id) == (JobState.RUNNING, 1, "e1")
    assert (seen.stage, seen.stage_start_time) == (Stage.STARTING, job.start_time)
    assert seen.start_time == job.start_time


async def test_a_job_that_is_claimed_again_tells_its_retries_and_since_when_it_waited(
    store: Store, time: StoreClock
) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, charged=True)])

    [second] = await claim(store, executor_id="e2", session=4)

    assert (second.attempt_id.attempt, second.executor_id, second.session) == (2, "e2", 4)
    assert second.retry_count == 1
    assert first.start_time < second.queued_time < second.start_time
    # A job starts once, however often it is tried.
    assert (await see(store, job_id)).start_time == first.start_time


async def test_jobs_are_dealt_round_robin_over_the_executors(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 5)

    claimed = await store.claim(
        LANE, [Slots("e1", 1, 3), Slots("e2", 1, 1), Slots("e3", 1, 2)], max_rank=3, thorough=False
    )

    assert [job.executor_id for job in claimed] == ["e1", "e2", "e3", "e1", "e3"]


async def test_another_lane_is_left_alone(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(CLIENT, [new_job(time, model="gemini-3.5-flash")])

    assert await claim(store) == []
    assert await store.claim("gemini/unknown", [Slots("e1", 1, 1)], max_rank=3, thorough=False) == []


async def test_concurrent_claims_share_the_jobs_without_giving_one_twice(store: Store, time: StoreClock) -> None:
    submitted = await submit(store, time, *[2] * 60)

    async with asyncio.TaskGroup() as tasks:
        claims = [tasks.create_task(claim(store, 15, executor_id=f"e{number}")) for number in range(5)]
    claimed = [job_id for task in claims for job_id in ids(task.result())]

    assert sorted(claimed) == submitted


async def test_a_returned_job_keeps_its_place_and_gets_a_higher_attempt(store: Store, time: StoreClock) -> None:
    first, second = await submit(store, time, 2, 2)
    [job] = await claim(store, 1)
    assert job.attempt_id.job_id == first

    await store.give_back([back(job.attempt_id, time)])
    claimed = await claim(store)

    assert [(job.attempt_id.job_id, job.attempt_id.attempt) for job in claimed] == [(first, 2), (second, 1)]


async def test_a_job_that_is_due_stands_at_its_old_place(store: Store, time: StoreClock) -> None:
    first, second = await submit(store, time, 2, 2)
    [place] = (await store.lane_heads(thorough=True)).heads
    [job] = await claim(store, 1)
    await store.give_back([back(job.attempt_id, time, charged=True, after_seconds=-1)])
    assert (await store.lane_heads(thorough=True)).heads != [place]

    assert await store.promote_due() is None
    assert (await store.lane_heads(thorough=False)).heads == [place]
    claimed = await claim(store)

    assert ids(claimed) == [first, second]


async def test_a_job_waits_since_it_fell_due(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    [first] = await claim(store, 1)
    await store.give_back([back(first.attempt_id, time, after_seconds=-1)])
    [between] = await claim(store)
    await store.promote_due()

    [again] = await claim(store)

    # Both are times of the store, so that they can be compared.
    assert between.start_time < again.queued_time < again.start_time


async def test_a_job_that_is_not_due_is_not_claimed(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, charged=True, after_seconds=3_600)])

    await store.promote_due()

    assert await claim(store) == []
    assert (await store.lane_heads(thorough=True)).heads == []


async def test_a_job_is_claimed_again_after_its_time_has_come(store: Store, time: StoreClock, age: Age) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, charged=True, after_seconds=60)])

    await age(datetime.timedelta(seconds=61))
    assert await claim(store) == []
    assert await store.promote_due() is None

    assert ids(await claim(store)) == [job_id]


async def test_promotion_tells_the_earliest_time_that_is_still_to_come(store: Store, time: StoreClock) -> None:
    assert await store.promote_due() is None
    submitted = await submit(store, time, 2, 2, 2)
    returns = [
        back(job.attempt_id, time, after_seconds=seconds)
        for job, seconds in zip(await claim(store), (7_200, -1, 3_600), strict=True)
    ]
    await store.give_back(returns)

    due = await store.promote_due()

    assert returns[2].due_time is not None
    assert due is not None
    assert abs(due - returns[2].due_time) < datetime.timedelta(milliseconds=1)
    assert ids(await claim(store)) == submitted[1:2]


async def test_the_lane_with_the_best_head_comes_first(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(
        CLIENT,
        [
            new_job(time, priority=3),
            new_job(time, priority=2, model="gemini-3.5-flash"),
            new_job(time, priority=1, model="gemini-3.7-flash"),
            new_job(time, priority=1, model="gemini-3.5-flash"),
        ],
    )

    for thorough in (False, True):
        heads = (await store.lane_heads(thorough=thorough)).heads
        assert [(head.lane, head.rank) for head in heads] == [
            ("gemini/gemini-3.7-flash", 1),
            ("gemini/gemini-3.5-flash", 1),
            (LANE, 3),
        ]
        assert heads[0].seq < heads[1].seq


async def test_a_lane_without_a_waiting_job_has_no_head(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)

    for thorough in (False, True):
        assert (await store.lane_heads(thorough=thorough)).heads == []
    await store.give_back([back(job.attempt_id, time)])
    for thorough in (False, True):
        assert [head.lane for head in (await store.lane_heads(thorough=thorough)).heads] == [LANE]


async def test_the_head_of_a_lane_changes_with_its_claims_and_returns(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    [before] = (await store.lane_heads(thorough=False)).heads
    [first] = await claim(store, 1)
    [between] = (await store.lane_heads(thorough=False)).heads
    await store.give_back([back(first.attempt_id, time)])

    [after] = (await store.lane_heads(thorough=False)).heads

    assert between.seq > before.seq
    assert after == before


async def test_waiting_jobs_are_counted_no_further_than_asked(store: Store, time: StoreClock) -> None:
    await submit(store, time, 1, 2, 3)

    assert await store.count_waiting(2) == 2
    assert await store.count_waiting(10) == 3


async def test_only_queued_jobs_count_as_waiting(store: Store, time: StoreClock) -> None:
    await submit(store, time, 1, 1, 1, 2, 2)
    done, retried, _ = await claim(store, 3)
    await store.finish([success(done.attempt_id, time)])
    await store.give_back([back(retried.attempt_id, time, after_seconds=60)])

    assert await store.count_waiting(10) == 2


async def test_many_rounds_of_work_leave_no_job_behind(store: Store, time: StoreClock) -> None:
    submitted = await submit(store, time, *([1, 2, 3] * 20))
    finished: list[str] = []
    given_back: set[str] = set()

    while claimed := await claim(store, 7):
        for job in claimed:
            if job.attempt_id.attempt == 1 and len(given_back) < 30:
                given_back.add(job.attempt_id.job_id)
                await store.give_back([back(job.attempt_id, time)])
            else:
                await store.finish([success(job.attempt_id, time)])
                finished.append(job.attempt_id.job_id)

    assert sorted(finished) == submitted


async def test_the_best_jobs_of_several_lanes_are_shared_out_in_their_order(store: Store, time: StoreClock) -> None:
    other = "gemini-3.5-flash"
    models = ["gemini-3.8-flash", other, other, "gemini-3.8-flash", other]
    await insert(store, CLIENT, [new_job(time, model=model) for model in models])
    await insert(store, CLIENT, [new_job(time, priority=1, model=other)])
    lanes = [LANE, f"gemini/{other}"]

    assert dict(await store.shares(lanes, 3)) == {LANE: 1, f"gemini/{other}": 2}
    assert dict(await store.shares([LANE], 3)) == {LANE: 2}
    assert dict(await store.shares(lanes, 100)) == {LANE: 2, f"gemini/{other}": 4}


async def test_attempts_in_flight_are_counted_by_lane(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2, 2)
    await claim(store, 2)

    assert dict(await store.in_flight([LANE, "gemini/gemini-3.5-flash"])) == {LANE: 2}
    assert dict(await store.in_flight([])) == {}
