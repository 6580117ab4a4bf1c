"""Conformance of the stores: how fast a client may submit, and how many of its jobs may be in the queue."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence

import pytest
from stores import CLIENT, IMAGE_REF, KEY, Age, claim, connect, ids, insert, new_job, see, success

from policies import submission_rate
from runtime.clock import SystemClock
from scheduler.errors import ImagesMissing, QueueFull, RequestIdReused
from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import Accepted, JobQuery

SECOND = datetime.timedelta(seconds=1)


async def queued(store: Store) -> int:
    jobs = await store.list_jobs(CLIENT, JobQuery(labels={}), before=None, limit=1_000, attempts=False)
    return sum(1 for job in jobs if not job.state.is_final)


async def test_a_client_that_submits_too_fast_is_told_how_long_to_wait(store: Store, age: Age) -> None:
    assert await store.pace(CLIENT, 100, per_second=10) is None

    wait = await store.pace(CLIENT, 1, per_second=10)

    assert wait is not None
    assert 8 * SECOND < wait <= 9 * SECOND
    await age(wait)
    assert await store.pace(CLIENT, 1, per_second=10) is None


async def test_a_refusal_costs_no_rate(store: Store, age: Age) -> None:
    assert await store.pace(CLIENT, 20, per_second=10) is None
    for _ in range(5):
        assert await store.pace(CLIENT, 1_000, per_second=10) is not None

    await age(SECOND)

    assert await store.pace(CLIENT, 1, per_second=10) is None


async def test_the_rate_of_one_client_is_not_anothers(store: Store) -> None:
    assert await store.pace(CLIENT, 1_000, per_second=1) is None
    assert await store.pace(CLIENT, 1, per_second=1) is not None

    assert await store.pace("other", 1, per_second=1) is None


async def test_the_store_paces_as_the_policy_does(store: Store, time: StoreClock, age: Age) -> None:
    """Time passes on its own while the database is asked, by less than a tenth of a second: so much may be lacking."""
    worked_off, passed = time.now(), datetime.timedelta()
    pauses = (0, 0, 0.5, 3.2, 0, 1.0, 7.5, 0, 0.25, 30, 0, 0)
    counts = (4, 1, 9, 1, 40, 3, 2, 70, 1, 1, 3, 3)
    for pause, count in zip(pauses, counts, strict=True):
        await age(pause * SECOND)
        passed += pause * SECOND if isinstance(store, PostgresStore) else datetime.timedelta()
        now = time.now() + passed
        expected = submission_rate.wait(worked_off, now=now)
        told = await store.pace(CLIENT, count, per_second=8)
        if told is None:
            assert expected < 0.1 * SECOND
            worked_off = submission_rate.after(worked_off, count, per_second=8, now=now)
        else:
            assert abs(told - expected) < 0.1 * SECOND


async def test_the_slowest_rate_and_the_largest_batch_are_bearable(store: Store) -> None:
    assert await store.pace(CLIENT, 1_000, per_second=submission_rate.SLOWEST_PER_SECOND) is None
    wait = await store.pace(CLIENT, 1_000, per_second=submission_rate.SLOWEST_PER_SECOND)

    assert wait is not None
    assert wait > datetime.timedelta(days=11)


async def test_jobs_beyond_the_depth_are_refused_all_together(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(CLIENT, [new_job(time), new_job(time)], max_queued=4)

    with pytest.raises(QueueFull) as refused:
        await store.insert_jobs(CLIENT, [new_job(time) for _ in range(3)], max_queued=4)

    assert (refused.value.limit, refused.value.queued) == (4, 2)
    assert await queued(store) == 2
    await store.insert_jobs(CLIENT, [new_job(time) for _ in range(2)], max_queued=4)
    assert await queued(store) == 4


async def test_a_job_that_runs_counts_and_one_that_ended_does_not(store: Store, time: StoreClock) -> None:
    [first] = ids(await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1))
    await connect(store)
    [job] = await claim(store)
    with pytest.raises(QueueFull):
        await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)

    await store.finish([success(job.attempt_id, time)])

    [second] = ids(await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1))
    assert (await see(store, first)).state is JobState.SUCCEEDED
    assert (await see(store, second)).state is JobState.QUEUED


async def test_what_is_known_or_answered_already_needs_no_room(store: Store, time: StoreClock) -> None:
    [known] = ids(await store.insert_jobs(CLIENT, [new_job(time, request_id="r", dedup_key=KEY)], max_queued=1))
    assert ids(await store.insert_jobs(CLIENT, [new_job(time, request_id="r", dedup_key=KEY)], max_queued=1)) == [known]
    await connect(store)
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, time)])
    await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)

    [answered] = await store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY)], max_queued=1)

    assert answered.is_cached


async def test_a_job_that_was_refused_leads_nobody_and_takes_no_request_id(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)
    with pytest.raises(QueueFull):
        await store.insert_jobs(CLIENT, [new_job(time, request_id="r", dedup_key=KEY)], max_queued=1)

    [accepted] = await store.insert_jobs(CLIENT, [new_job(time, request_id="r", spec_hash=b"other", dedup_key=KEY)])

    assert (accepted.is_known, accepted.leader) == (False, None)


async def test_a_follower_needs_room_too(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY)], max_queued=2)
    [follower] = await store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY)], max_queued=2)
    assert follower.leader is not None

    with pytest.raises(QueueFull):
        await store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY)], max_queued=2)


async def test_the_depth_of_one_client_is_not_anothers(store: Store, time: StoreClock) -> None:
    await store.insert_jobs("other", [new_job(time)], max_queued=1)

    assert len(await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)) == 1


async def test_jobs_without_a_limit_are_neither_counted_nor_bounded(store: Store, time: StoreClock) -> None:
    await insert(store, CLIENT, [new_job(time) for _ in range(5)])

    await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)
    await insert(store, CLIENT, [new_job(time)])
    with pytest.raises(QueueFull):
        await store.insert_jobs(CLIENT, [new_job(time)], max_queued=1)


async def test_other_refusals_are_the_same_under_a_limit(store: Store, time: StoreClock) -> None:
    await store.insert_jobs(CLIENT, [new_job(time, request_id="r")], max_queued=3)

    with pytest.raises(RequestIdReused):
        await store.insert_jobs(CLIENT, [new_job(time, request_id="r", spec_hash=b"other")], max_queued=3)
    with pytest.raises(ImagesMissing):
        await store.insert_jobs(CLIENT, [new_job(time, images=(IMAGE_REF,))], max_queued=3)

    assert await queued(store) == 1


async def test_known_requests_are_those_that_are_not_stored_again(store: Store, time: StoreClock, age: Age) -> None:
    await store.insert_jobs(CLIENT, [new_job(time, request_id="a"), new_job(time, request_id="b")])
    await store.insert_jobs("other", [new_job(time, request_id="c")])

    assert set(await store.known_requests(CLIENT, ["a", "b", "c", "d"])) == {"a", "b"}
    await age(datetime.timedelta(hours=25))
    assert not await store.known_requests(CLIENT, ["a", "b"])


@pytest.fixture
async def stores(postgres_store: PostgresStore, store_url: str) -> AsyncIterator[Sequence[PostgresStore]]:
    """Two schedulers' stores on one database."""
    async with open_store(store_url, clock=SystemClock()) as other:
        yield postgres_store, other


async def test_many_who_submit_at_once_over_two_schedulers_never_exceed_the_depth(
    stores: Sequence[PostgresStore],
) -> None:
    limit, taken, refusals = 25, list[Accepted](), list[tuple[QueueFull, int]]()

    async def submit(number: int) -> None:
        store = stores[number % 2]
        jobs = [new_job(store.time, request_id=f"{number} {place}") for place in range(1 + number % 3)]
        try:
            taken.extend(await store.insert_jobs(CLIENT, jobs, max_queued=limit))
        except QueueFull as refusal:
            refusals.append((refusal, len(jobs)))

    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(submit(number))

    # Those who wanted one fill it to the last place.
    assert await queued(stores[0]) == len(taken) == limit
    assert all(refusal.queued + wanted > refusal.limit == limit for refusal, wanted in refusals)


async def test_many_who_submit_at_once_over_two_schedulers_never_exceed_the_rate(
    stores: Sequence[PostgresStore],
) -> None:
    before = stores[0].time.now()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(stores[number % 2].pace(CLIENT, 10, per_second=100)) for number in range(200)]
    took = stores[0].time.now() - before

    let_through = sum(10 for call in calls if call.result() is None)
    assert 100 <= let_through <= (took.total_seconds() + 1) * 100 + 10
    assert all(wait > datetime.timedelta() for call in calls if (wait := call.result()) is not None)


async def test_a_crowd_of_one_client_leaves_connections_to_others(postgres_store: PostgresStore) -> None:
    store = postgres_store
    async with asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(store.insert_jobs(CLIENT, [new_job(store.time)], max_queued=1_000))
        other = tasks.create_task(store.insert_jobs("other", [new_job(store.time)]))
        await other
        finished_before = await store.list_jobs(CLIENT, JobQuery(labels={}), before=None, limit=100, attempts=False)

    assert len(finished_before) < 50
