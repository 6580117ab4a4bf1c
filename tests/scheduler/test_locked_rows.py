"""Calls on Postgres that wait for a row which another scheduler is changing: what they make of it when it has changed."""

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, cast

import asyncpg
from stores import (
    CLIENT,
    KEY,
    LANE,
    SECOND,
    SECOND_LANE,
    claim,
    connect,
    executor,
    insert,
    lost,
    new_job,
    passed,
    record,
    see,
    submit,
    success,
    used,
)
from test_floors import raise_floors

from runtime.clock import SystemClock
from scheduler.jobs import AttemptOutcome, JobState, NewJob, Stage
from scheduler.postgres.database import Database
from scheduler.postgres.store import PostgresStore, open_store

_COUNT_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Other:
    """Another scheduler, all whose changes are one transaction that has not committed yet."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._changing, self._watching = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        self._transaction = self._changing.transaction()
        await self._transaction.start()
        self.store = PostgresStore(
            Database(cast("Any", self), max_size=10, clock=SystemClock(), result_lifetime=timedelta(hours=1))
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._changing.close()
        await self._watching.close()

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection to the store, as a pool does."""
        del timeout
        yield self._changing

    async def meets(self, *calls: Awaitable[Any]) -> list[Any]:
        """Let calls wait for the changes, one behind the other; commit them, and return the calls' answers."""
        waiting: list[asyncio.Future[Any]] = []
        for call in calls:
            waiting.append(asyncio.ensure_future(call))
            while await self._watching.fetchval(_COUNT_WAITING) < len(waiting):
                assert not any(each.done() for each in waiting)
        await self._transaction.commit()
        return [await each for each in waiting]


def of_yesterday(job: NewJob) -> NewJob:
    """Return the job as if it had been made a day ago: its history is in another partition."""
    day = timedelta(days=1) // timedelta(milliseconds=1)
    return dataclasses.replace(job, job_id=str(uuid.UUID(int=uuid.UUID(job.job_id).int - (day << 80))))


async def submit_over_midnight(store: PostgresStore) -> list[str]:
    """Submit jobs of two days."""
    jobs = [new_job(store.time) for _ in range(4)]
    return await insert(store, CLIENT, [jobs[0], of_yesterday(jobs[1]), of_yesterday(jobs[2]), jobs[3]])


async def test_an_executor_comes_back_while_its_attempts_are_given_up(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await connect(postgres_store)
    await submit(postgres_store, postgres_store.time, 2, 2)
    attempts = [job.attempt_id for job in await claim(postgres_store)]

    async with Other(store_url) as other:
        await other.store.give_back([lost(each, other.store.time) for each in attempts])
        [registration] = await other.meets(postgres_store.register(executor(), attempts))

    assert sorted(registration.held) == sorted(attempts)


async def test_a_cancellation_ends_jobs_of_several_days_while_their_stages_are_noted(
    postgres_store: PostgresStore, store_url: str
) -> None:
    jobs = await submit_over_midnight(postgres_store)
    attempts = [job.attempt_id for job in await claim(postgres_store)]

    async with Other(store_url) as other:
        now = other.store.time.now()
        await other.store.note_stages(dict.fromkeys(attempts, (Stage.FETCHING_IMAGE, now)))
        [ended] = await other.meets(postgres_store.cancel(CLIENT, jobs))

    assert sorted(ended.changed) == sorted(jobs)


async def test_late_outcomes_of_several_days_are_kept_while_another_scheduler_hears_of_them(
    postgres_store: PostgresStore, store_url: str
) -> None:
    jobs = await submit_over_midnight(postgres_store)
    attempts = [job.attempt_id for job in await claim(postgres_store)]
    await postgres_store.give_back([lost(each, postgres_store.time) for each in attempts])

    async with Other(store_url) as other:
        # The loss is told once more, so that the rows change but may still be filled.
        await other.store.note_late([record(each, other.store.time, AttemptOutcome.LOST) for each in attempts])
        late = [record(each, other.store.time, AttemptOutcome.FAILED, cost_usd=0.5) for each in attempts]
        await other.meets(postgres_store.note_late(late))

    assert [(await see(postgres_store, job_id)).attempts[0].cost_usd for job_id in jobs] == [0.5] * 4


async def test_first_steps_of_several_days_end_while_their_stages_are_noted(
    postgres_store: PostgresStore, store_url: str
) -> None:
    jobs = [new_job(postgres_store.time, post_process=SECOND) for _ in range(4)]
    jobs = [jobs[0], of_yesterday(jobs[1]), of_yesterday(jobs[2]), jobs[3]]
    await insert(postgres_store, CLIENT, jobs)
    attempts = [job.attempt_id for job in await claim(postgres_store)]

    async with Other(store_url) as other:
        await other.store.note_stages(dict.fromkeys(attempts, (Stage.FETCHING_IMAGE, other.store.time.now())))
        time = postgres_store.time
        [ended] = await other.meets(postgres_store.advance([passed(each, time) for each in attempts]))

    assert sorted(ended.attempts) == sorted(attempts)
    assert len(await postgres_store.step_outputs([job.job_id for job in jobs])) == 4


async def test_late_successes_of_several_days_are_taken_while_their_jobs_are_raised(
    postgres_store: PostgresStore, store_url: str
) -> None:
    jobs = await submit_over_midnight(postgres_store)
    attempts = [job.attempt_id for job in await claim(postgres_store)]
    await postgres_store.give_back([lost(each, postgres_store.time) for each in attempts])
    newer = [job.attempt_id for job in await claim(postgres_store)]

    async with Other(store_url) as other:
        await other.store.note_stages(dict.fromkeys(newer, (Stage.FETCHING_IMAGE, other.store.time.now())))
        time = postgres_store.time
        [ended] = await other.meets(postgres_store.finish([success(each, time, cost_usd=0.5) for each in attempts]))

    assert sorted(ended.attempts) == sorted(attempts)
    assert len(ended.to_stop) == len(jobs)
    assert [(row.jobs, row.cost_usd, row.wasted_usd) for row in (await used(postgres_store)).values()] == [
        (4, 2.0, 0.0)
    ]


async def test_a_job_is_cancelled_in_the_step_that_it_reaches_at_the_same_moment(
    postgres_store: PostgresStore, store_url: str
) -> None:
    [job_id] = await insert(postgres_store, CLIENT, [new_job(postgres_store.time, post_process=SECOND)])
    [first] = await claim(postgres_store)

    async with Other(store_url) as other:
        await other.store.advance([passed(first.attempt_id, other.store.time, cost_usd=0.25)])
        [ended] = await other.meets(postgres_store.cancel(CLIENT, [job_id]))

    assert (list(ended.changed), list(ended.to_stop)) == ([job_id], [])
    assert (await see(postgres_store, job_id)).step == 2
    assert [(row.jobs, row.wasted_usd) for row in (await used(postgres_store)).values()] == [(1, 0.25)]


async def test_the_lanes_of_a_job_are_locked_before_it_the_next_one_too_and_by_name(
    postgres_store: PostgresStore, store_url: str
) -> None:
    # In another order than that of their names.
    await submit(postgres_store, postgres_store.time)
    [job_id] = await insert(postgres_store, CLIENT, [new_job(postgres_store.time, post_process=SECOND)])
    locking = await asyncpg.connect(store_url)
    free = "SELECT lane FROM lanes FOR UPDATE SKIP LOCKED"

    async with locking.transaction():
        await locking.execute("SELECT lock_lanes(ARRAY[$1::uuid])", job_id)
        async with Other(store_url) as other, other.acquire(timeout=1) as connection:
            assert not await connection.fetch(free)
    async with Other(store_url) as other, other.acquire(timeout=1) as connection:
        await connection.execute("SELECT FROM lanes WHERE lane = $1 FOR UPDATE", SECOND_LANE)
        waiting = asyncio.ensure_future(locking.execute("SELECT lock_lanes(ARRAY[$1::uuid])", job_id))
        while not await connection.fetchval(_COUNT_WAITING):
            assert not waiting.done()
        assert {row["lane"] for row in await connection.fetch(free)} == {LANE, SECOND_LANE}
        await other.meets()
        await waiting

    await locking.close()


async def test_a_claim_that_waits_for_the_next_lane_finds_the_job_that_comes_there(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, post_process=SECOND)])
    [first] = await claim(postgres_store)

    async with Other(store_url) as other:
        await other.store.advance([passed(first.attempt_id, other.store.time)])
        [claimed] = await other.meets(claim(postgres_store, lane=SECOND_LANE))

    assert [job.attempt_id.job_id for job in claimed] == [first.attempt_id.job_id]


async def test_two_schedulers_that_advance_a_job_at_once_do_so_once(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, post_process=SECOND)])
    [first] = await claim(postgres_store)

    async with Other(store_url) as other:
        ended = await other.store.advance([passed(first.attempt_id, other.store.time, cost_usd=0.25)])
        [again] = await other.meets(postgres_store.advance([passed(first.attempt_id, postgres_store.time)]))

    assert (set(ended.attempts), set(again.attempts)) == ({first.attempt_id}, set())
    assert [row.cost_usd for row in (await used(postgres_store)).values()] == [0.25]


async def test_usage_is_counted_in_one_order_so_that_who_waits_holds_nothing_the_other_wants(
    postgres_store: PostgresStore, store_url: str
) -> None:
    users = ["d", "a", "e", "c", "b"]
    jobs = [new_job(postgres_store.time, user_id=user_id) for user_id in users * 2 + ["c"]]
    await insert(postgres_store, CLIENT, jobs)
    attempts = [job.attempt_id for job in await claim(postgres_store, 11)]
    time = postgres_store.time
    await postgres_store.finish([success(each, time) for each in attempts[:5]])
    watcher = await asyncpg.connect(store_url)

    async with Other(store_url) as other:
        await other.store.finish([success(attempts[10], time)])
        waiting = asyncio.ensure_future(postgres_store.finish([success(each, time) for each in attempts[5:10]]))
        while not await watcher.fetchval(_COUNT_WAITING):
            assert not waiting.done()
        free = await watcher.fetch("SELECT user_id FROM usage_daily FOR UPDATE SKIP LOCKED")
        await other.meets()
        await waiting

    await watcher.close()
    assert {row["user_id"] for row in free} == {"d", "e"}


async def test_a_request_takes_the_result_that_is_stored_at_the_same_moment(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, dedup_key=KEY)])
    [job] = await claim(postgres_store)

    async with Other(store_url) as other:
        await other.store.finish([success(job.attempt_id, other.store.time)])
        again = new_job(other.store.time, dedup_key=KEY)
        [[accepted]] = await other.meets(postgres_store.insert_jobs(CLIENT, [again]))

    assert accepted.is_cached
    assert (await see(postgres_store, accepted.job_id)).state is JobState.SUCCEEDED
    assert await insert(postgres_store, CLIENT, [new_job(postgres_store.time, dedup_key=KEY)])
    assert await claim(postgres_store) == []


async def test_a_job_that_is_raised_while_it_comes_back_is_found_below_the_floor(
    postgres_store: PostgresStore, store_url: str
) -> None:
    [job_id] = await submit(postgres_store, postgres_store.time, 3)
    [job] = await claim(postgres_store)
    await submit(postgres_store, postgres_store.time, 1, 3)
    await raise_floors(postgres_store, store_url)

    async with Other(store_url) as other:
        await other.store.raise_leader(job_id, 1)
        # The claim comes first, and finds nothing at that rank yet.
        await other.meets(claim(postgres_store), postgres_store.give_back([lost(job.attempt_id, postgres_store.time)]))

    assert [each.attempt_id.job_id for each in await claim(postgres_store)] == [job_id]


async def test_what_was_done_meanwhile_is_seen_whatever_the_default_of_the_database(database_url: str) -> None:
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    await admin.close()

    async with open_store(database_url, clock=SystemClock()) as store, Other(database_url) as other:
        await insert(store, CLIENT, [new_job(store.time, dedup_key=KEY)])
        [job] = await claim(store)
        await other.store.finish([success(job.attempt_id, other.store.time)])
        [[accepted]] = await other.meets(store.insert_jobs(CLIENT, [new_job(store.time, dedup_key=KEY)]))

    assert accepted.is_cached
