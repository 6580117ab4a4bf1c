"""The store on Postgres under many hands: two schedulers do everything at once, and nothing deadlocks or is lost."""

import asyncio
import dataclasses
import datetime
import itertools
import random
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from stores import CLIENT, LANE, back, claim, failure, lost, new_job, see, submit, success

from runtime.clock import SystemClock
from scheduler.jobs import CachePolicy, JobState
from scheduler.lanes import Lane
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import AttemptId, JobQuery, Slots

NOW = datetime.timedelta(0)


@pytest.fixture
async def stores(postgres_store: PostgresStore, store_url: str) -> AsyncIterator[Sequence[PostgresStore]]:
    """Two schedulers' stores on one database."""
    async with open_store(store_url, clock=SystemClock()) as other:
        yield postgres_store, other


async def inconsistencies(url: str) -> list[str]:
    """Return the jobs that are in the queue and ended, in neither, or that wait for nobody."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("""
        SELECT 'both or neither: ' || job_id FROM jobs
        WHERE EXISTS (SELECT 1 FROM queue q WHERE q.job_id = jobs.job_id)
            = EXISTS (SELECT 1 FROM results r WHERE r.job_id = jobs.job_id)
        UNION ALL
        SELECT 'follows nobody: ' || job_id FROM queue q
        WHERE leader IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM queue l JOIN dedup d ON d.leader = l.job_id WHERE l.job_id = q.leader AND d.key = q.dedup_key)
        UNION ALL
        SELECT 'leads and is gone: ' || leader FROM dedup d
        WHERE leader IS NOT NULL AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.job_id = d.leader)
    """)
    await connection.close()
    return [row[0] for row in rows]


async def test_the_end_of_leaders_and_of_their_followers_cross_without_a_deadlock(
    stores: Sequence[PostgresStore], store_url: str
) -> None:
    store, other = stores
    for turn in range(10):
        keys = [f"{turn} {number}".encode() for number in range(8)]
        groups = [[new_job(store.time, dedup_key=key) for _ in range(4)] for key in keys]
        await store.insert_jobs(CLIENT, [job for group in groups for job in group])
        leaders = await claim(store, 100)
        assert len(leaders) == len(groups)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.finish([success(job.attempt_id, store.time) for job in leaders[::-1]]))
            for group, next_group in itertools.pairwise(groups):
                tasks.create_task(other.cancel(CLIENT, [job.job_id for job in (*group[1:3], next_group[0])]))

        assert await inconsistencies(store_url) == []
        await store.cancel(CLIENT, [job.job_id for group in groups for job in group])


async def test_submissions_of_the_same_keys_in_any_order_do_not_deadlock(
    stores: Sequence[PostgresStore], store_url: str
) -> None:
    order = random.Random(3)
    for turn in range(10):
        keys = [f"{turn} {number}".encode() for number in range(20)]
        async with asyncio.TaskGroup() as tasks:
            for number in range(12):
                store = stores[number % 2]
                jobs = [
                    new_job(store.time, dedup_key=key, cache=order.choice([CachePolicy.USE, CachePolicy.REFRESH]))
                    for key in order.sample(keys, len(keys))
                ]
                tasks.create_task(store.insert_jobs(CLIENT, jobs))

    assert await inconsistencies(store_url) == []


async def test_a_job_that_is_claimed_at_the_last_moment_does_not_expire(
    postgres_store: PostgresStore, store_url: str
) -> None:
    [job_id] = await submit(postgres_store, postgres_store.time)
    claimer, watcher = await asyncpg.connect(store_url), await asyncpg.connect(store_url)
    claiming = claimer.transaction()
    await claiming.start()
    # For the claim, which is under way, the time is that of its beginning; for all others the time has come.
    await watcher.execute("UPDATE queue SET expire_time = clock_timestamp()")
    await claimer.fetch("SELECT claim_jobs($1, ARRAY['e1'], ARRAY[1::bigint], ARRAY[1], 3, true)", LANE)

    expiry = asyncio.create_task(postgres_store.expire_due())
    while not await watcher.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        pass
    await claiming.commit()

    assert await expiry == ([], None)
    assert (await see(postgres_store, job_id)).state is JobState.RUNNING
    for connection in (claimer, watcher):
        await connection.close()


async def test_whatever_happens_at_once_every_job_has_one_state(
    stores: Sequence[PostgresStore], store_url: str
) -> None:
    order = random.Random(4)
    await stores[0].add_lanes([LANE])

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(Hand(stores[number % 2], random.Random(order.random()), f"e{number % 3}").work(40))

    assert await inconsistencies(store_url) == []
    await finish_all(stores[0])
    assert await inconsistencies(store_url) == []
    connection = await asyncpg.connect(store_url)
    assert await connection.fetchval("SELECT count(*) FROM queue") == 0
    await connection.close()


class Hand:
    """Does one thing after the other to a store, whatever the others do."""

    def __init__(self, store: PostgresStore, order: random.Random, executor_id: str) -> None:
        self._store = store
        self._order = order
        self._executor_id = executor_id
        self._attempts: list[AttemptId] = []

    async def work(self, steps: int) -> None:
        for _ in range(steps):
            await self._order.choice(
                [self.submit, self.submit, self.claim, self.claim, self.finish, self.give_back, self.cancel, self.sweep]
            )()

    async def submit(self) -> None:
        jobs = [
            new_job(
                self._store.time,
                dedup_key=self._order.choice([b"a", b"b", b"c", b"d", None]),
                priority=self._order.randint(1, 3),
                cache=self._order.choice([CachePolicy.USE, CachePolicy.USE, CachePolicy.REFRESH]),
                expire_time=self._store.time.now() + datetime.timedelta(milliseconds=self._order.choice([20, 60_000])),
            )
            for _ in range(4)
        ]
        for accepted in await self._store.insert_jobs(CLIENT, jobs):
            if accepted.leader is not None:
                await self._store.raise_leader(accepted.leader, 1)

    async def claim(self) -> None:
        claimed = await self._store.claim(LANE, [Slots(self._executor_id, 1, 3)], max_rank=3, thorough=True)
        self._attempts += [job.attempt_id for job in claimed]

    async def finish(self) -> None:
        time = self._store.time
        await self._store.finish(
            [
                success(attempt, time) if self._order.random() < 0.5 else failure(attempt, time)
                for attempt in self._some()
            ]
        )

    async def give_back(self) -> None:
        after = self._order.choice([None, 0.01])
        await self._store.give_back(
            [back(attempt, self._store.time, charged=True, after_seconds=after) for attempt in self._some()]
        )

    async def cancel(self) -> None:
        jobs = await self._store.list_ids(CLIENT, JobQuery(labels={}), before=None, limit=60)
        await self._store.cancel(CLIENT, self._order.sample(jobs, min(len(jobs), 6)))

    async def sweep(self) -> None:
        await self._store.promote_due()
        await self._store.expire_due()
        await self._store.raise_old(NOW)

        def count(lane: Lane) -> tuple[Lane, None]:
            return dataclasses.replace(lane, throttles=lane.throttles + 1), None

        await self._store.change_lane(LANE, count)

    def _some(self) -> list[AttemptId]:
        """Return some of the attempts, each job once; stale ones too."""
        chosen = self._order.sample(self._attempts, min(len(self._attempts), 4))
        return list({attempt.job_id: attempt for attempt in chosen}.values())


async def finish_all(store: PostgresStore) -> None:
    """Let everything that is left come to its end."""
    query = JobQuery(states=frozenset({JobState.RUNNING}), labels={})
    running = await store.list_jobs(CLIENT, query, before=None, limit=1_000, attempts=False)
    await store.give_back([lost(AttemptId(job.job_id, job.attempt), store.time) for job in running])
    while True:
        scheduled = await store.promote_due()
        claimed = await claim(store, 500, thorough=True)
        await store.finish([success(job.attempt_id, store.time) for job in claimed])
        await store.expire_due()
        if scheduled is None and not claimed:
            return
