"""The store on Postgres under many hands: two schedulers do everything at once, and nothing deadlocks or is lost."""

import asyncio
import dataclasses
import datetime
import itertools
import random
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from stores import (
    CLIENT,
    LANE,
    SECOND,
    SECOND_LANE,
    back,
    claim,
    executor,
    failure,
    lost,
    new_job,
    passed,
    record,
    see,
    submit,
    success,
)

from runtime.clock import SystemClock
from scheduler.jobs import AttemptOutcome, CachePolicy, JobState, NewJob, PostProcess
from scheduler.lanes import Lane
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import AttemptId, ClaimedJob, JobQuery, Slots

NOW = datetime.timedelta(0)
# Identical requests have the same steps.
KEYS = ((None, None), (b"a", None), (b"b", None), (None, SECOND), (b"c", SECOND), (b"d", SECOND))


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
        UNION ALL
        SELECT 'nothing to go on from: ' || job_id FROM queue q
        WHERE step = 2 AND NOT EXISTS (SELECT 1 FROM step_outputs s WHERE s.job_id = q.job_id)
    """)
    await connection.close()
    return [row[0] for row in rows]


async def counted_and_stored(url: str) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Return jobs, cost, waste and unanswered calls, once as they were counted and once as the history has them."""
    connection = await asyncpg.connect(url)
    counted = await connection.fetchrow("""
        SELECT sum(jobs)::bigint, sum(cost_usd), sum(wasted_usd), sum(unanswered_calls)::bigint FROM usage_daily
    """)
    stored = await connection.fetchrow("""
        SELECT (SELECT count(*) FROM results), sum(cost_usd),
            sum(cost_usd) FILTER (WHERE (gave_the_result OR gave_a_step) IS NOT TRUE), count(*) FILTER (WHERE unanswered)
        FROM (
            SELECT a.cost_usd, a.unanswered, r.state = 4 AND r.attempt = a.attempt AS gave_the_result,
                coalesce(r.state, 4) = 4 AND s.attempt = a.attempt AS gave_a_step
            FROM attempts a LEFT JOIN results r USING (job_id) LEFT JOIN step_outputs s USING (job_id)
        ) attempt
    """)
    await connection.close()
    return tuple(counted), tuple(stored)


async def test_schedulers_that_end_jobs_of_the_same_users_at_once_do_not_deadlock(
    stores: Sequence[PostgresStore], store_url: str
) -> None:
    order = random.Random(5)
    users = [f"user {number}" for number in range(100)]
    time = stores[0].time
    for _ in range(3):
        attempts: list[list[AttemptId]] = []
        for _ in range(6):
            # Each of these comes to all users, in another order.
            jobs = [new_job(time, user_id=user_id) for user_id in order.sample(users, len(users))]
            await stores[0].insert_jobs(CLIENT, jobs)
            attempts.append([job.attempt_id for job in await claim(stores[0], 100)])

        async with asyncio.TaskGroup() as tasks:
            # Those of a lane that do not succeed wait for each other anyway.
            tasks.create_task(stores[0].give_back([back(each, time, cost_usd=0.25) for each in attempts[0]]))
            for number, bite in enumerate(attempts[1:]):
                tasks.create_task(stores[number % 2].finish([success(each, time) for each in bite]))
        await stores[0].cancel(CLIENT, [each.job_id for each in attempts[0]])

    counted, stored = await counted_and_stored(store_url)
    assert counted == stored == (1_800, 825.0, 75.0, 0)


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
    await stores[0].add_lanes([LANE, SECOND_LANE])

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(Hand(stores[number % 2], random.Random(order.random()), f"e{number % 3}").work(40))

    assert await inconsistencies(store_url) == []
    await finish_all(stores[0])
    assert await inconsistencies(store_url) == []
    counted, stored = await counted_and_stored(store_url)
    assert counted == stored
    connection = await asyncpg.connect(store_url)
    assert await connection.fetchval("SELECT count(*) FROM queue") == 0
    await connection.close()


class Hand:
    """Does one thing after the other to a store, whatever the others do."""

    def __init__(self, store: PostgresStore, order: random.Random, executor_id: str) -> None:
        self._store = store
        self._order = order
        self._executor_id = executor_id
        self._jobs: list[ClaimedJob] = []

    async def work(self, steps: int) -> None:
        doing = [self.submit, self.claim, self.finish, self.give_back, self.lose, self.dial, self.tell_late]
        for _ in range(steps):
            await self._order.choice([*doing, self.submit, self.claim, self.claim, self.cancel, self.sweep])()

    async def submit(self) -> None:
        jobs = [self._new_job(*self._order.choice(KEYS)) for _ in range(4)]
        for accepted in await self._store.insert_jobs(CLIENT, jobs):
            if accepted.leader is not None:
                await self._store.raise_leader(accepted.leader, 1)

    def _new_job(self, key: bytes | None, post_process: PostProcess | None) -> NewJob:
        return new_job(
            self._store.time,
            dedup_key=key,
            post_process=post_process,
            user_id=self._order.choice(["a", "b", "c"]),
            labels=self._order.choice([{}, {"team": "red"}]),
            priority=self._order.randint(1, 3),
            cache=self._order.choice([CachePolicy.USE, CachePolicy.USE, CachePolicy.REFRESH]),
            expire_time=self._store.time.now() + datetime.timedelta(milliseconds=self._order.choice([20, 60_000])),
        )

    async def claim(self) -> None:
        slots = [Slots(self._executor_id, 1, 3)]
        self._jobs += await self._store.claim(self._order.choice([LANE, SECOND_LANE]), slots, max_rank=3, thorough=True)

    async def finish(self) -> None:
        await succeed(self._store, self._some())
        await self._store.finish([failure(job.attempt_id, self._store.time) for job in self._some()])

    async def give_back(self) -> None:
        after = self._order.choice([None, 0.01])
        await self._store.give_back(
            [
                back(job.attempt_id, self._store.time, charged=True, after_seconds=after, cost_usd=0.125)
                for job in self._some()
            ]
        )

    async def lose(self) -> None:
        losses = [lost(job.attempt_id, self._store.time, paid=True) for job in self._some()]
        await self._store.give_back(
            [dataclasses.replace(loss, record=dataclasses.replace(loss.record, unanswered=True)) for loss in losses]
        )

    async def dial(self) -> None:
        await self._store.register(executor(self._executor_id), [job.attempt_id for job in self._some()])

    async def tell_late(self) -> None:
        outcome = self._order.choice([AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED])
        await self._store.note_late(
            [record(job.attempt_id, self._store.time, outcome, cost_usd=2.0) for job in self._some()]
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

    def _some(self) -> list[ClaimedJob]:
        """Return some of what was claimed, each job once; stale attempts too."""
        chosen = self._order.sample(self._jobs, min(len(self._jobs), 4))
        return list({job.attempt_id.job_id: job for job in chosen}.values())


async def succeed(store: PostgresStore, jobs: Sequence[ClaimedJob]) -> None:
    """Let attempts succeed, each in its step."""
    last = [job for job in jobs if job.step == len(job.spec.lanes)]
    await store.advance([passed(job.attempt_id, store.time) for job in jobs if job not in last])
    await store.finish([success(job.attempt_id, store.time, step=job.step) for job in last])


async def finish_all(store: PostgresStore) -> None:
    """Let everything that is left come to its end."""
    query = JobQuery(states=frozenset({JobState.RUNNING}), labels={})
    running = await store.list_jobs(CLIENT, query, before=None, limit=1_000, attempts=False)
    await store.give_back([lost(AttemptId(job.job_id, job.attempt), store.time) for job in running])
    while True:
        scheduled = await store.promote_due()
        claimed = [job for lane in (LANE, SECOND_LANE) for job in await claim(store, 500, lane=lane, thorough=True)]
        await succeed(store, claimed)
        await store.expire_due()
        if scheduled is None and not claimed:
            return
