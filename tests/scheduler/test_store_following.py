"""Conformance of the stores: identical requests in flight share one call."""

import datetime

import pytest
from stores import CLIENT, KEY, Age, back, claim, fail, insert, new_job, see, submit_alike, success, told

from scheduler.jobs import JobError, JobState, Usage
from scheduler.ports import Store, StoreClock
from scheduler.records import Accepted

BAD_IMAGE = JobError(kind="BAD_IMAGE", message="No image.", retryable=False)
MINUTE = datetime.timedelta(minutes=1)


async def test_an_identical_job_follows_the_one_in_flight(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time, dedup_key=KEY) for _ in range(3)]
    leader, second, third = [job.job_id for job in jobs]

    assert await store.insert_jobs(CLIENT, jobs[:1]) == [Accepted(job_id=leader)]
    assert await store.insert_jobs(CLIENT, jobs[1:]) == [
        Accepted(job_id=second, leader=leader),
        Accepted(job_id=third, leader=leader),
    ]

    follower = await see(store, second)
    assert (follower.state, follower.leader) == (JobState.QUEUED, leader)
    assert (await see(store, leader)).leader is None
    assert await store.count_waiting(10) == 1
    assert [job.attempt_id.job_id for job in await claim(store)] == [leader]
    assert (await store.lane_heads(thorough=True)).heads == []


@pytest.mark.parametrize("where", ["running", "scheduled", "queued again"])
async def test_a_leader_is_followed_wherever_it_is(store: Store, time: StoreClock, where: str) -> None:
    [leader] = await submit_alike(store, time, 2)
    [job] = await claim(store)
    if where != "running":
        after = 60 if where == "scheduled" else None
        await store.give_back([back(job.attempt_id, time, after_seconds=after)])

    [follower] = await submit_alike(store, time, 2)

    assert (await see(store, follower)).leader == leader


async def test_duplicates_of_one_batch_follow_the_first(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time, dedup_key=KEY), new_job(time), *(new_job(time, dedup_key=KEY) for _ in range(2))]
    leader, alone, *followers = [job.job_id for job in jobs]

    assert await store.insert_jobs(CLIENT, jobs) == [
        Accepted(job_id=leader),
        Accepted(job_id=alone),
        *(Accepted(job_id=follower, leader=leader) for follower in followers),
    ]


async def test_a_known_request_neither_leads_nor_follows(store: Store, time: StoreClock) -> None:
    [first] = await insert(store, CLIENT, [new_job(time, request_id="r")])

    again = new_job(time, request_id="r", dedup_key=KEY)
    assert await store.insert_jobs(CLIENT, [again]) == [Accepted(job_id=first, is_known=True)]
    [leader] = await submit_alike(store, time, 2)

    assert (await see(store, leader)).leader is None


async def test_jobs_with_another_key_or_none_stand_alone(store: Store, time: StoreClock) -> None:
    await submit_alike(store, time, 2)
    others = await store.insert_jobs(CLIENT, [new_job(time, dedup_key=b"other"), new_job(time), new_job(time)])

    assert [other.leader for other in others] == [None, None, None]
    assert len(await claim(store)) == 4


async def test_followers_share_the_success_of_their_leader(store: Store, time: StoreClock) -> None:
    leader, *followers = await submit_alike(store, time, 2, 2, 3)
    [job] = await claim(store)

    ended = await store.finish([success(job.attempt_id, time)])

    assert told(ended) == ({job.attempt_id}, [leader, *followers], [])
    for follower in followers:
        done = await see(store, follower)
        assert (done.state, done.attempt, done.leader, done.attempts) == (JobState.SUCCEEDED, 0, None, ())
        assert done.finish_time is not None
        assert done.result is not None
        assert (done.result.output_json, done.result.model_version) == ('{"a":1}', "gemini-3.8-flash")
        assert (done.result.cached, done.result.cost_usd, done.result.usage) == (True, 0.0, Usage())
        assert done.result.stage_seconds == {}
    own = (await see(store, leader)).result
    assert own is not None
    assert not own.cached


async def test_followers_share_a_success_that_came_late(store: Store, time: StoreClock) -> None:
    leader, follower = await submit_alike(store, time, 2, 2)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    await claim(store)

    ended = await store.finish([success(first.attempt_id, time)])

    assert sorted(ended.changed) == [leader, follower]
    assert (await see(store, follower)).state is JobState.SUCCEEDED


async def test_followers_share_a_failure_that_is_not_retryable(store: Store, time: StoreClock) -> None:
    submitted = await submit_alike(store, time, 2, 2, 2)

    assert await fail(store, time, BAD_IMAGE) == submitted

    for follower in submitted[1:]:
        done = await see(store, follower)
        assert (done.state, done.error, done.attempt, done.result) == (JobState.FAILED, BAD_IMAGE, 0, None)
    # Nobody leads any more.
    [later] = await submit_alike(store, time, 2)
    assert [job.attempt_id.job_id for job in await claim(store)] == [later]


async def test_a_follower_is_cancelled_on_its_own(store: Store, time: StoreClock) -> None:
    leader, second, third = await submit_alike(store, time, 2, 2, 2)

    assert told(await store.cancel(CLIENT, [second])) == (set(), [second], [])

    assert (await see(store, second)).state is JobState.CANCELLED
    [job] = await claim(store)
    assert sorted((await store.finish([success(job.attempt_id, time)])).changed) == [leader, third]
    assert (await see(store, second)).state is JobState.CANCELLED


async def test_a_follower_expires_on_its_own(store: Store, time: StoreClock, age: Age) -> None:
    [leader] = await submit_alike(store, time, 2)
    [follower] = await submit_alike(store, time, 2, expire_time=time.now() + MINUTE)
    await age(2 * MINUTE)

    changed, _ = await store.expire_due()

    assert list(changed) == [follower]
    assert (await see(store, follower)).state is JobState.EXPIRED
    assert (await see(store, leader)).state is JobState.QUEUED
