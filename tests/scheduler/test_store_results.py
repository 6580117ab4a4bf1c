"""Conformance of the stores: a recent result answers identical requests of its client."""

import dataclasses
import datetime
from typing import Any

import pytest
from stores import CLIENT, KEY, Age, FakeTime, claim, failure, insert, lost, new_job, see, success, told

from runtime.clock import SystemClock
from scheduler.jobs import CachePolicy, JobState, Usage
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import open_store
from scheduler.records import Accepted, JobQuery

MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


async def take_in(store: Store, time: StoreClock, *policies: CachePolicy, **changes: Any) -> list[Accepted]:
    """Submit identical requests in one call."""
    jobs = [new_job(time, dedup_key=KEY, cache=policy, **changes) for policy in policies]
    return list(await store.insert_jobs(CLIENT, jobs))


async def succeed(store: Store, time: StoreClock, output: str = '{"a":1}') -> str:
    """Let the job that comes next succeed."""
    [job] = await claim(store, 1)
    await store.finish([success(job.attempt_id, time, output=output)])
    return job.attempt_id.job_id


async def output(store: Store, job_id: str) -> str | None:
    result = (await see(store, job_id)).result
    return result.output_json if result else None


async def test_a_recent_result_answers_at_once(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE)
    first = await succeed(store, time)

    [accepted] = await take_in(store, time, CachePolicy.USE)
    done = await see(store, accepted.job_id)

    assert accepted == Accepted(job_id=accepted.job_id, is_cached=True)
    assert accepted.job_id != first
    assert (done.state, done.attempt, done.attempts, done.start_time) == (JobState.SUCCEEDED, 0, (), None)
    assert done.finish_time is not None
    assert done.result is not None
    assert (done.result.output_json, done.result.model_version) == ('{"a":1}', "gemini-3.8-flash")
    assert (done.result.cached, done.result.cost_usd, done.result.usage) == (True, 0.0, Usage())
    assert await claim(store) == []
    assert await store.count_waiting(10) == 0


async def test_a_result_answers_as_long_as_it_lives(store: Store, time: StoreClock, age: Age) -> None:
    await take_in(store, time, CachePolicy.USE)
    await succeed(store, time)

    await age(59 * MINUTE)
    [answered] = await take_in(store, time, CachePolicy.USE)
    assert answered.is_cached
    # An answer makes it live no longer.
    await age(2 * MINUTE)
    [again] = await take_in(store, time, CachePolicy.USE)

    assert (again.is_cached, again.leader) == (False, None)
    assert [job.attempt_id.job_id for job in await claim(store)] == [again.job_id]
    [follower] = await take_in(store, time, CachePolicy.USE)
    assert follower.leader == again.job_id


async def test_the_lifetime_of_results_is_a_setting_in_memory() -> None:
    await assert_that_results_do_not_live(MemoryStore(clock=FakeTime(), result_lifetime=datetime.timedelta(0)))


async def test_the_lifetime_of_results_is_a_setting_on_postgres(store_url: str) -> None:
    async with open_store(store_url, clock=SystemClock(), result_lifetime=datetime.timedelta(0)) as store:
        await assert_that_results_do_not_live(store)


async def assert_that_results_do_not_live(store: Store) -> None:
    await take_in(store, store.time, CachePolicy.USE)
    await succeed(store, store.time)

    [accepted] = await take_in(store, store.time, CachePolicy.USE)

    assert not accepted.is_cached


async def test_the_result_of_one_client_answers_no_other(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE)
    await succeed(store, time)

    # Keys are made of the client too.
    theirs = [new_job(time, dedup_key=b"the same of another client") for _ in range(2)]
    first, second = await store.insert_jobs("other", theirs)

    assert (first.is_cached, first.leader) == (False, None)
    assert second.leader == first.job_id


async def test_what_a_follower_shared_is_answered_in_its_leaders_words(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE, CachePolicy.USE)
    await succeed(store, time)

    [cached] = await take_in(store, time, CachePolicy.USE)

    result = (await see(store, cached.job_id)).result
    assert result is not None
    assert (result.output_json, result.model_version) == ('{"a":1}', "gemini-3.8-flash")


async def test_a_failure_answers_nobody(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE)
    [job] = await claim(store)
    await store.finish([failure(job.attempt_id, time)])

    [accepted] = await take_in(store, time, CachePolicy.USE)

    assert not accepted.is_cached
    assert len(await claim(store)) == 1


async def test_a_refresh_asks_again_and_leads_while_others_are_answered(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE)
    await succeed(store, time, output="1")

    [refresh] = await take_in(store, time, CachePolicy.REFRESH)
    [meanwhile] = await take_in(store, time, CachePolicy.USE)
    assert (refresh.is_cached, refresh.leader) == (False, None)
    assert meanwhile.is_cached
    assert await succeed(store, time, output="2") == refresh.job_id
    [later] = await take_in(store, time, CachePolicy.USE)

    assert [await output(store, each.job_id) for each in (refresh, meanwhile, later)] == ["2", "1", "2"]


async def test_a_refresh_is_followed_where_there_is_no_result(store: Store, time: StoreClock) -> None:
    [refresh] = await take_in(store, time, CachePolicy.REFRESH)
    [follower] = await take_in(store, time, CachePolicy.USE)

    assert follower.leader == refresh.job_id


async def test_a_refresh_follows_nobody(store: Store, time: StoreClock) -> None:
    [leader] = await take_in(store, time, CachePolicy.USE)
    [refresh] = await take_in(store, time, CachePolicy.REFRESH)
    [follower] = await take_in(store, time, CachePolicy.USE)
    assert (refresh.leader, follower.leader) == (None, leader.job_id)
    first, second = await claim(store)

    # One that stands alone answers no followers, but whoever comes later.
    ended = await store.finish([success(second.attempt_id, time, output="2")])
    assert told(ended)[1] == [refresh.job_id]
    [cached] = await take_in(store, time, CachePolicy.USE)
    assert await output(store, cached.job_id) == "2"
    ended = await store.finish([success(first.attempt_id, time, output="1")])
    assert told(ended)[1] == [leader.job_id, follower.job_id]
    [cached] = await take_in(store, time, CachePolicy.USE)
    assert await output(store, cached.job_id) == "1"


async def test_a_refresh_that_stands_alone_fails_alone(store: Store, time: StoreClock) -> None:
    [leader] = await take_in(store, time, CachePolicy.USE)
    [refresh] = await take_in(store, time, CachePolicy.REFRESH)
    [follower] = await take_in(store, time, CachePolicy.USE)
    await store.cancel(CLIENT, [refresh.job_id])

    assert (await see(store, follower.job_id)).leader == leader.job_id
    [again] = await take_in(store, time, CachePolicy.USE)
    assert again.leader == leader.job_id


async def test_in_one_batch_the_others_follow_the_refresh(store: Store, time: StoreClock) -> None:
    first, refresh, other_refresh, last = await take_in(
        store, time, CachePolicy.USE, CachePolicy.REFRESH, CachePolicy.REFRESH, CachePolicy.USE
    )

    assert (refresh.leader, other_refresh.leader) == (None, None)
    assert (first.leader, last.leader) == (refresh.job_id, refresh.job_id)


async def test_a_job_without_a_key_is_not_answered_and_answers_nobody(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE)
    await succeed(store, time)

    [off] = await insert(store, CLIENT, [new_job(time, cache=CachePolicy.OFF)])
    assert await succeed(store, time, output="off") == off
    [cached] = await take_in(store, time, CachePolicy.USE)

    assert await output(store, cached.job_id) == '{"a":1}'


async def test_a_job_for_later_takes_no_part_but_its_result_does(store: Store, time: StoreClock, age: Age) -> None:
    await take_in(store, time, CachePolicy.USE)
    await succeed(store, time, output="1")
    [later] = await take_in(store, time, CachePolicy.USE, schedule_time=time.now() + 2 * HOUR)
    assert later == Accepted(job_id=later.job_id)

    await age(3 * HOUR)
    await store.promote_due()
    [leader] = await take_in(store, time, CachePolicy.USE)
    assert leader == Accepted(job_id=leader.job_id)
    assert await succeed(store, time, output="2") == later.job_id
    [cached] = await take_in(store, time, CachePolicy.USE)

    assert await output(store, cached.job_id) == "2"
    # It was not the one that others follow.
    assert (await see(store, leader.job_id)).state is JobState.QUEUED


async def test_a_job_for_later_is_the_first_with_its_key(store: Store, time: StoreClock, age: Age) -> None:
    [later] = await take_in(store, time, CachePolicy.USE, schedule_time=time.now() + HOUR)
    await age(2 * HOUR)
    await store.promote_due()

    assert await succeed(store, time) == later.job_id
    [cached] = await take_in(store, time, CachePolicy.USE)

    assert cached.is_cached


async def test_a_job_for_later_is_not_followed(store: Store, time: StoreClock) -> None:
    await take_in(store, time, CachePolicy.USE, schedule_time=time.now() + HOUR)

    [accepted] = await take_in(store, time, CachePolicy.USE)

    assert accepted.leader is None


@pytest.mark.parametrize("winner", [0, 1])
async def test_a_cached_job_is_that_of_the_attempt_that_counted_although_another_one_succeeded_too(
    store: Store, time: StoreClock, winner: int
) -> None:
    [source] = await take_in(store, time, CachePolicy.USE)
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])
    [second] = await claim(store)
    finals = [success(attempt.attempt_id, time) for attempt in (first, second)]
    await store.finish([finals[winner]])
    await store.note_late([dataclasses.replace(finals[1 - winner].record, model_version="of the other one")])

    [cached] = await take_in(store, time, CachePolicy.USE)

    listed = await store.list_jobs(CLIENT, JobQuery(labels={}), before=None, limit=10, attempts=False)
    assert [job.job_id for job in listed] == [cached.job_id, source.job_id]
    assert [job.result.model_version for job in listed if job.result] == ["gemini-3.8-flash"] * 2


async def test_a_success_after_a_cancellation_answers_nobody(store: Store, time: StoreClock) -> None:
    [cancelled] = await take_in(store, time, CachePolicy.USE)
    [job] = await claim(store)
    await store.cancel(CLIENT, [cancelled.job_id])
    await store.finish([success(job.attempt_id, time)])
    await store.note_late([success(job.attempt_id, time).record])

    [accepted] = await take_in(store, time, CachePolicy.USE)

    assert not accepted.is_cached
