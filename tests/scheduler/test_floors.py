"""The lanes' floors on Postgres: they spare the claim a walk over dead entries, and must never hide a job."""

from datetime import timedelta

import asyncpg
import pytest
from stores import (
    CLIENT,
    KEY,
    LANE,
    SECOND,
    SECOND_LANE,
    back,
    claim,
    connect,
    insert,
    lost,
    new_job,
    passed,
    submit,
    submit_alike,
)

from scheduler.jobs import JobState
from scheduler.postgres.store import PostgresStore
from scheduler.records import AttemptId, JobQuery, Slots


async def age(url: str) -> list[int]:
    """Let the lane believe that ten seconds passed since it last noted the sequence, and return its floors."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE lanes SET noted_time = noted_time - interval '11 seconds'")
    floors: list[int] = await connection.fetchval("SELECT floors FROM lanes WHERE lane = $1", LANE)
    await connection.close()
    return floors


@pytest.fixture
async def raised(postgres_store: PostgresStore, store_url: str) -> PostgresStore:
    """A store whose floors stand above the jobs that it has handed out."""
    await connect(postgres_store)
    await submit(postgres_store, postgres_store.time, 1, 2, 3)
    await raise_floors(postgres_store, store_url)
    return postgres_store


async def test_floors_rise_above_what_was_handed_out(raised: PostgresStore, store_url: str) -> None:
    assert min(await age(store_url)) >= 3


async def test_a_young_sequence_value_raises_no_floor(postgres_store: PostgresStore, store_url: str) -> None:
    await connect(postgres_store)
    await submit(postgres_store, postgres_store.time, 2)
    await claim(postgres_store)

    assert await age(store_url) == [0, 0, 0]


async def test_a_job_that_comes_back_is_found_below_the_floor(raised: PostgresStore) -> None:
    await raised.give_back([back(attempt, raised.time) for attempt in await running(raised)])

    assert {head.lane for head in (await raised.lane_heads(thorough=False)).heads} == {LANE}
    assert len(await claim(raised, 3)) == 3


async def test_a_job_that_is_due_is_found_below_the_floor(raised: PostgresStore, store_url: str) -> None:
    attempts = await running(raised)
    await raised.give_back([back(attempt, raised.time, charged=True, after_seconds=-1) for attempt in attempts])
    # While it waits for its time, the floors rise above it again.
    await raise_floors(raised, store_url)

    await raised.promote_due()

    assert len(await claim(raised, 3)) == 3


async def test_a_follower_that_leads_now_is_found_below_the_floor(
    postgres_store: PostgresStore, store_url: str
) -> None:
    leader, follower = await submit_alike(postgres_store, postgres_store.time, 2, 2)
    await submit(postgres_store, postgres_store.time, 2)
    await claim(postgres_store)
    await raise_floors(postgres_store, store_url)

    await postgres_store.cancel(CLIENT, [leader])

    assert [job.attempt_id.job_id for job in await claim(postgres_store)] == [follower]


async def test_a_job_that_comes_to_its_next_lane_is_found_below_the_floor(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, post_process=SECOND, dedup_key=KEY)])
    [follower] = await submit_alike(postgres_store, postgres_store.time, 2, post_process=SECOND)
    [first] = await claim(postgres_store)
    connection = await asyncpg.connect(store_url)
    above_all = "UPDATE lanes SET floors = '{1000,1000,1000}', floor_limit = 1000"

    await connection.execute(above_all)
    await postgres_store.advance([passed(first.attempt_id, postgres_store.time)])
    [second] = await claim(postgres_store, lane=SECOND_LANE)
    await connection.execute(above_all)
    await postgres_store.cancel(CLIENT, [second.attempt_id.job_id])
    [promoted] = await claim(postgres_store, lane=SECOND_LANE)
    await connection.close()

    assert second.attempt_id.job_id == first.attempt_id.job_id
    assert promoted.attempt_id.job_id == follower


async def test_a_job_of_a_better_rank_now_is_found_below_the_floor(
    postgres_store: PostgresStore, store_url: str
) -> None:
    raised_job, old = await submit(postgres_store, postgres_store.time, 3, 3)
    await submit(postgres_store, postgres_store.time, 1, 2)
    for max_rank in (1, 2):
        await postgres_store.claim(LANE, [Slots("e1", 1, 9)], max_rank=max_rank, thorough=False)
    await raise_floors(postgres_store, store_url, max_rank=2)

    await postgres_store.raise_leader(raised_job, 1)
    assert await postgres_store.raise_old(timedelta(0)) == 1

    assert [job.attempt_id.job_id for job in await claim(postgres_store)] == [raised_job, old]


async def test_a_suspect_that_found_no_slot_stays_above_the_floor(
    postgres_store: PostgresStore, store_url: str
) -> None:
    first, second = await submit(postgres_store, postgres_store.time, 2, 2)
    died = await claim(postgres_store)
    await postgres_store.give_back([lost(job.attempt_id, postgres_store.time, died_preparing=True) for job in died])
    await submit(postgres_store, postgres_store.time, 2)
    [job, _] = await claim(postgres_store)
    assert job.attempt_id.job_id == first
    await raise_floors(postgres_store, store_url)

    assert [job.attempt_id.job_id for job in await claim(postgres_store, executor_id="e2")] == [second]


async def test_the_thorough_look_finds_what_a_floor_hides(raised: PostgresStore, store_url: str) -> None:
    await raised.give_back([back(attempt, raised.time) for attempt in await running(raised)])
    connection = await asyncpg.connect(store_url)
    await connection.execute("UPDATE lanes SET floors = '{1000,1000,1000}'")
    await connection.close()

    assert (await raised.lane_heads(thorough=False)).heads == []
    assert len((await raised.lane_heads(thorough=True)).heads) == 1


async def raise_floors(store: PostgresStore, url: str, *, max_rank: int = 3) -> None:
    """Let claims raise the floors above all that was handed out."""
    for _ in range(3):
        await age(url)
        await store.claim(LANE, [Slots("e1", 1, 9)], max_rank=max_rank, thorough=False)


async def running(store: PostgresStore) -> list[AttemptId]:
    query = JobQuery(states=frozenset({JobState.RUNNING}), labels={})
    jobs = await store.list_jobs(CLIENT, query, before=None, limit=10, attempts=False)
    return [AttemptId(job.job_id, job.attempt) for job in jobs]
