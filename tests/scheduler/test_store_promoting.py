"""Conformance of the stores: who leads identical requests when their leader is gone, and at which place."""

import dataclasses
import datetime

import pytest
from stores import (
    CLIENT,
    ERROR,
    LANE,
    Age,
    back,
    claim,
    fail,
    failure,
    insert,
    new_job,
    see,
    submit,
    submit_alike,
    success,
)

from scheduler.jobs import JobError, JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import ClaimedJob, FinalRecord

BAD_IMAGE = JobError(kind="BAD_IMAGE", message="No image.", retryable=False)
TIMEOUT = JobError(kind="TIMEOUT", message="Too slow.", retryable=True)
MINUTE = datetime.timedelta(minutes=1)


def expired(job: ClaimedJob, time: StoreClock) -> FinalRecord:
    return dataclasses.replace(failure(job.attempt_id, time), state=JobState.EXPIRED)


async def test_a_retryable_failure_lets_the_oldest_follower_lead_once_for_each_kind(
    store: Store, time: StoreClock
) -> None:
    first, second, third, fourth = await submit_alike(store, time, 2, 2, 2, 2)

    assert await fail(store, time, ERROR) == [first, second]
    assert [(await see(store, job_id)).leader for job_id in (second, third, fourth)] == [None, second, second]
    assert await fail(store, time, TIMEOUT) == [second, third]
    assert await fail(store, time, ERROR) == [third, fourth]

    assert (await see(store, first)).state is JobState.FAILED
    assert (await see(store, fourth)).error == ERROR
    assert await claim(store) == []


async def test_a_job_that_failed_alone_leaves_its_place_to_the_next(store: Store, time: StoreClock) -> None:
    await submit_alike(store, time, 2)
    await fail(store, time)

    [second] = await submit_alike(store, time, 2)
    [third] = await submit_alike(store, time, 2)

    assert (await see(store, third)).leader == second
    # The failure of the first is forgotten.
    assert await fail(store, time) == [second, third]
    assert (await see(store, third)).state is JobState.QUEUED


@pytest.mark.parametrize("end", ["cancelled", "cancelled while it runs", "expired", "expired after its attempt"])
async def test_a_leader_that_ends_without_a_verdict_lets_the_oldest_follower_lead(
    store: Store, time: StoreClock, age: Age, end: str
) -> None:
    [leader] = await submit_alike(store, time, 2, expire_time=time.now() + MINUTE)
    second, third = await submit_alike(store, time, 2, 2)
    match end:
        case "cancelled":
            changed = (await store.cancel(CLIENT, [leader])).changed
        case "cancelled while it runs":
            await claim(store)
            changed = (await store.cancel(CLIENT, [leader])).changed
        case "expired":
            await age(2 * MINUTE)
            changed, _ = await store.expire_due()
        case _:
            [job] = await claim(store)
            changed = (await store.finish([expired(job, time)])).changed

    assert sorted(changed) == [leader, second]
    assert (await see(store, second)).leader is None
    assert (await see(store, third)).leader == second
    [fourth] = await submit_alike(store, time, 2)
    assert (await see(store, fourth)).leader == second
    promoted = time.now()
    [job] = await claim(store)
    assert (job.attempt_id.job_id, job.attempt_id.attempt) == (second, 1)
    assert (await see(store, second)).create_time < job.queued_time <= promoted


async def test_a_promotion_without_a_failure_spends_no_kind(store: Store, time: StoreClock) -> None:
    first, second, third, fourth = await submit_alike(store, time, 2, 2, 2, 2)
    assert await fail(store, time) == [first, second]
    await store.cancel(CLIENT, [second])

    # The kinds are remembered from leader to leader.
    assert await fail(store, time) == [third, fourth]
    assert (await see(store, fourth)).state is JobState.FAILED


async def test_a_promoted_follower_stands_at_its_own_seq_and_the_best_rank_of_all(
    store: Store, time: StoreClock
) -> None:
    leader, second, _ = await submit_alike(store, time, 3, 3, 2)
    [between] = await submit(store, time, 2)
    await store.cancel(CLIENT, [leader])

    assert [job.attempt_id.job_id for job in await claim(store)] == [second, between]


async def test_leader_and_followers_are_cancelled_together(store: Store, time: StoreClock) -> None:
    submitted = await submit_alike(store, time, 2, 2, 2, 2)

    ended = await store.cancel(CLIENT, submitted[:3])

    assert sorted(ended.changed) == submitted
    assert [(await see(store, job_id)).state for job_id in submitted] == [JobState.CANCELLED] * 3 + [JobState.QUEUED]
    assert [job.attempt_id.job_id for job in await claim(store)] == submitted[3:]


async def test_a_leader_is_raised_to_the_rank_of_a_more_urgent_follower(store: Store, time: StoreClock) -> None:
    [leader] = await submit_alike(store, time, 3)
    [other] = await submit(store, time, 2)
    await submit_alike(store, time, 1)

    await store.raise_leader(leader, 1)
    await store.raise_leader(leader, 2)

    [first, *_] = (await store.lane_heads(thorough=False)).heads
    assert (first.lane, first.rank) == (LANE, 1)
    assert [job.attempt_id.job_id for job in await claim(store)] == [leader, other]


async def test_a_running_leader_keeps_the_rank_it_was_raised_to(store: Store, time: StoreClock) -> None:
    [leader] = await submit_alike(store, time, 3)
    [job] = await claim(store)
    await store.raise_leader(leader, 1)
    await submit(store, time, 2)

    await store.give_back([back(job.attempt_id, time)])

    assert [(job.attempt_id.job_id, job.rank) for job in await claim(store, 1)] == [(leader, 1)]


async def test_raising_a_job_that_ended_does_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    await store.cancel(CLIENT, [job_id])
    before = await see(store, job_id)

    await store.raise_leader(job_id, 1)

    assert await see(store, job_id) == before
    assert await claim(store) == []


async def test_several_groups_end_in_one_batch(store: Store, time: StoreClock) -> None:
    shared, failed, promoted = [
        await insert(store, CLIENT, [new_job(time, dedup_key=key) for _ in range(2)]) for key in (b"c", b"a", b"b")
    ]
    jobs = await claim(store)

    ended = await store.finish(
        [
            success(jobs[0].attempt_id, time),
            failure(jobs[1].attempt_id, time, BAD_IMAGE),
            failure(jobs[2].attempt_id, time),
        ]
    )

    assert sorted(ended.changed) == sorted([*shared, *failed, *promoted])
    states = [(await see(store, group[1])).state for group in (shared, failed, promoted)]
    assert states == [JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED]
