"""Conformance of the stores: jobs that start later, expire, or rise because they have waited for long."""

import dataclasses
import datetime

from stores import CLIENT, LANE, Age, back, claim, failure, insert, new_job, see, submit, success

from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock

MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


async def submit_until(store: Store, time: StoreClock, *lifetimes: datetime.timedelta) -> list[str]:
    """Submit jobs that expire after these times."""
    return await insert(store, CLIENT, [new_job(time, expire_time=time.now() + lifetime) for lifetime in lifetimes])


async def test_a_job_for_later_is_scheduled_until_it_is_due_and_then_stands_at_its_place(
    store: Store, time: StoreClock, age: Age
) -> None:
    later = new_job(time, schedule_time=time.now() + HOUR)
    [scheduled] = await insert(store, CLIENT, [later])
    [next_one] = await submit(store, time)
    seen = await see(store, scheduled)
    assert (seen.state, seen.next_attempt_time) == (JobState.SCHEDULED, later.spec.schedule_time)

    due = await store.promote_due()
    assert due == later.spec.schedule_time
    assert await store.count_waiting(10) == 1
    await age(2 * HOUR)
    assert (await see(store, scheduled)).state is JobState.SCHEDULED
    assert await store.promote_due() is None

    seen = await see(store, scheduled)
    assert (seen.state, seen.next_attempt_time) == (JobState.QUEUED, None)
    assert [job.attempt_id.job_id for job in await claim(store)] == [scheduled, next_one]


async def test_a_schedule_time_that_is_over_schedules_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, schedule_time=time.now() - HOUR)])

    assert (await see(store, job_id)).state is JobState.QUEUED
    assert [job.attempt_id.job_id for job in await claim(store)] == [job_id]


async def test_only_waiting_jobs_expire(store: Store, time: StoreClock, age: Age) -> None:
    running, queued, retried, lasting = await submit_until(store, time, MINUTE, MINUTE, MINUTE, HOUR)
    jobs = await claim(store, 3)
    await store.give_back(
        [
            back(job.attempt_id, time, after_seconds=seconds)
            for job, seconds in zip(jobs[1:], (None, 3_600), strict=True)
        ]
    )
    assert not (await store.expire_due())[0]

    await age(2 * MINUTE)
    changed, next_time = await store.expire_due()

    assert sorted(changed) == [queued, retried]
    assert next_time is not None
    expired = await see(store, queued)
    assert (expired.state, expired.attempt, expired.error, expired.result) == (JobState.EXPIRED, 1, None, None)
    assert expired.finish_time is not None
    assert (await see(store, retried)).next_attempt_time is None
    assert (await see(store, running)).state is JobState.RUNNING
    assert (await see(store, lasting)).state is JobState.QUEUED
    assert (await store.expire_due())[0] in ([], ())
    assert (await store.finish([success(jobs[0].attempt_id, time)])).attempts == {jobs[0].attempt_id}


async def test_the_next_expiry_is_the_earliest_of_the_waiting_jobs(store: Store, time: StoreClock) -> None:
    assert await store.expire_due() == ([], None)
    first, second, _ = await submit_until(store, time, MINUTE, HOUR, 2 * HOUR)

    _, next_time = await store.expire_due()
    assert next_time == (await see(store, first)).spec.expire_time

    await claim(store, 1)
    _, next_time = await store.expire_due()
    assert next_time == (await see(store, second)).spec.expire_time


async def test_an_expired_job_is_not_claimed_even_before_it_is_swept(store: Store, time: StoreClock, age: Age) -> None:
    [expired] = await submit_until(store, time, MINUTE)
    [other] = await submit(store, time, 3)

    await age(2 * MINUTE)

    for thorough in (False, True):
        assert [head.rank for head in (await store.lane_heads(thorough=thorough)).heads] == [3]
    assert await store.count_waiting(10) == 1
    assert [job.attempt_id.job_id for job in await claim(store)] == [other]
    assert list((await store.expire_due())[0]) == [expired]


async def test_an_expired_job_is_not_saved_by_a_late_success(store: Store, time: StoreClock, age: Age) -> None:
    [job_id] = await submit_until(store, time, MINUTE)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time)])
    await age(2 * MINUTE)
    await store.expire_due()

    assert not (await store.finish([success(job.attempt_id, time)])).attempts
    assert (await see(store, job_id)).state is JobState.EXPIRED


async def test_a_job_that_failed_after_its_time_is_expired(store: Store, time: StoreClock) -> None:
    [job_id] = await submit_until(store, time, MINUTE)
    [job] = await claim(store)
    final = dataclasses.replace(failure(job.attempt_id, time), state=JobState.EXPIRED)

    assert (await store.finish([final])).attempts == {job.attempt_id}
    done = await see(store, job_id)

    assert (done.state, done.error, done.result) == (JobState.EXPIRED, None, None)
    assert [attempt.error is not None for attempt in done.attempts] == [True]


async def test_jobs_that_waited_for_long_rise_by_one_rank(store: Store, time: StoreClock, age: Age) -> None:
    old_low, old_normal = await submit(store, time, 3, 2)
    await age(2 * HOUR)
    young_normal, young_high = await submit(store, time, 2, 1)

    assert await store.raise_old(HOUR) == 2
    assert await store.raise_old(HOUR) == 0

    assert [job.attempt_id.job_id for job in await claim(store)] == [old_normal, young_high, old_low, young_normal]


async def test_a_job_rises_again_after_another_wait_and_never_above_the_first_rank(
    store: Store, time: StoreClock, age: Age
) -> None:
    await submit(store, time, 3)

    for rises in (1, 1, 0):
        await age(2 * HOUR)
        assert await store.raise_old(HOUR) == rises

    [head] = (await store.lane_heads(thorough=False)).heads
    assert (head.lane, head.rank) == (LANE, 1)


async def test_only_waiting_jobs_rise(store: Store, time: StoreClock, age: Age) -> None:
    await submit(store, time, 3, 3)
    first, second = await claim(store)
    await store.give_back([back(second.attempt_id, time, after_seconds=36_000)])

    await age(2 * HOUR)

    assert await store.raise_old(HOUR) == 0
    await store.give_back([back(first.attempt_id, time)])
    assert await store.raise_old(HOUR) == 1
