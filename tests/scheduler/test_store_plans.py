"""The hot statements on Postgres, as the driver runs them: they touch about as many rows as they are about.

Each runs prepared, under the pool's own settings, in a queue of many thousand jobs; what it touched is read from the
transaction's own statistics.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest
from stores import CLIENT, LANE, SPEC, back, claim, failure, lost, new_job, passed, record, success, used

from runtime.clock import SystemClock
from scheduler import spec_json
from scheduler.errors import QueueFull
from scheduler.jobs import AttemptOutcome, Stage
from scheduler.postgres.database import SERVER_SETTINGS, Database
from scheduler.postgres.store import PostgresStore
from scheduler.records import AttemptId

NO_JOB = "01990000-0000-7000-8000-000000000000"
HOUR = timedelta(hours=1)

# Ids as of now: they begin with the milliseconds.
_FILL = """
CREATE TEMP TABLE new_jobs AS
SELECT i, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid AS id
FROM generate_series(1, 40000) i;
INSERT INTO lanes (lane) VALUES ('{lane}'), ('gemini/other');
INSERT INTO jobs (job_id, client_id, user_id, create_time, traceparent, labels, spec)
SELECT id, '{client}', 'user', now(), '', '{{}}', '{spec}' FROM new_jobs;
INSERT INTO results (job_id, state, step, attempt, retry_count, finish_time)
SELECT id, 4, 1, 1, 0, now() FROM new_jobs WHERE i <= 10000;
INSERT INTO attempts (job_id, attempt, step, start_time, finish_time, outcome, cost_usd, model_version, stage_seconds, paid)
SELECT id, 1, 1, now(), now(), 1, 0, '', '{{}}', true FROM new_jobs WHERE i <= 10000;
INSERT INTO dedup (key, client_id, result, expire_time)
SELECT int4send(i), '{client}', id, now() FROM new_jobs WHERE i <= 10000;
INSERT INTO queue (job_id, lane, state, rank, seq, step, due_time, expire_time, queued_time, attempt, retry_count,
    max_retries, paid_calls, preparing_deaths, executor_id, session, stage, stage_time, attempt_time, leader, dedup_key)
SELECT id, CASE i % 2 WHEN 0 THEN '{lane}' ELSE 'gemini/other' END,
    CASE WHEN i > 20300 THEN 2 WHEN i > 20000 THEN 3 ELSE 1 END, 1 + i % 3, nextval('queue_seq'), 1,
    CASE WHEN i BETWEEN 10001 AND 20000 THEN now() + interval '1 hour' END, now() + interval '1 day', now(),
    CASE WHEN i BETWEEN 20001 AND 20300 THEN 1 ELSE 0 END, 0, 3, 0, 0,
    CASE WHEN i BETWEEN 20001 AND 20300 THEN 'e' || i % 10 END, CASE WHEN i BETWEEN 20001 AND 20300 THEN 1 END,
    CASE WHEN i BETWEEN 20001 AND 20300 THEN 1 END, now(), now(),
    CASE WHEN i > 39500 THEN (SELECT id FROM new_jobs WHERE i = 20301) END, int4send(i)
FROM new_jobs WHERE i > 10000 ORDER BY i;
"""

# Rows read by scans from end to end, and rows fetched through indexes.
_ROWS = """
SELECT CASE WHEN relname ~ '_2' THEN split_part(relname, '_', 1) ELSE relname END, sum(seq_tup_read)::int,
    sum(coalesce(idx_tup_fetch, 0))::int
FROM pg_stat_xact_user_tables GROUP BY 1
"""

_ENTRIES = "SELECT pg_stat_get_xact_tuples_returned('queue_claim_idx'::regclass)::int"


@dataclass
class Touched:
    """What a call touched.

    Attributes:
        scanned: Rows read by scanning tables, by table.
        fetched: Rows fetched through indexes, by table.
        claim_entries: Entries of the claim's index.
    """

    scanned: Counter[str] = field(default_factory=Counter)
    fetched: Counter[str] = field(default_factory=Counter)
    claim_entries: int = 0


class OneConnection:
    """A pool of one connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[asyncpg.Connection]:
        del timeout
        yield self._connection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database_url, server_settings={**SERVER_SETTINGS, "statement_timeout": "60s"})
    yield opened
    await opened.close()


@pytest.fixture
def store(connection: asyncpg.Connection) -> PostgresStore:
    """A store on that connection."""
    pool = cast("Any", OneConnection(connection))
    return PostgresStore(Database(pool, max_size=10, clock=SystemClock(), result_lifetime=HOUR))


async def fill(connection: asyncpg.Connection) -> None:
    spec = spec_json.encode(SPEC).replace("'", "''")
    await connection.execute(_FILL.format(lane=LANE, client=CLIENT, spec=spec))


@contextlib.asynccontextmanager
async def measured(connection: asyncpg.Connection) -> AsyncIterator[Touched]:
    """Measure what happens inside, and undo it."""
    touched = Touched()
    transaction = connection.transaction()
    await transaction.start()
    before = await count(connection)
    yield touched
    after = await count(connection)
    await transaction.rollback()
    touched.scanned = after.scanned - before.scanned
    touched.fetched = after.fetched - before.fetched
    touched.claim_entries = after.claim_entries - before.claim_entries


async def count(connection: asyncpg.Connection) -> Touched:
    rows = await connection.fetch(_ROWS)
    return Touched(
        Counter({table: scanned for table, scanned, _ in rows}),
        Counter({table: fetched for table, _, fetched in rows}),
        await connection.fetchval(_ENTRIES),
    )


@pytest.fixture(params=["analyzed", "planned while it was empty"])
async def full_queue(request: pytest.FixtureRequest, connection: asyncpg.Connection, store: PostgresStore) -> None:
    """Many thousand jobs, and statistics; or none, and plans that know of neither."""
    if request.param == "analyzed":
        await fill(connection)
        await connection.execute("VACUUM ANALYZE")
    else:
        await connection.execute("ALTER TABLE queue SET (autovacuum_enabled = off)")
        for _ in range(6):
            await do_everything(store, [AttemptId(NO_JOB, 1)])
        await fill(connection)


async def do_everything(store: PostgresStore, some: Sequence[AttemptId]) -> None:
    await claim(store, 1)
    await store.lane_heads(thorough=False)
    await store.promote_due()
    await store.expire_due()
    await store.raise_old(HOUR)
    await store.count_waiting(6)
    await store.find_running(some)
    await store.finish([success(attempt, store.time) for attempt in some])
    await store.finish([failure(attempt, store.time) for attempt in some])
    await store.give_back([back(attempt, store.time) for attempt in some])
    await store.advance([passed(attempt, store.time) for attempt in some])
    await store.note_late([record(attempt, store.time, AttemptOutcome.FAILED) for attempt in some])
    await store.note_stages({attempt: (Stage.VALIDATING, store.time.now()) for attempt in some})
    await store.cancel(CLIENT, [attempt.job_id for attempt in some])
    await store.running_on("e1", 1)
    await store.declare_lost(HOUR)


@pytest.mark.usefixtures("full_queue")
async def test_the_hot_statements_touch_about_as_many_rows_as_they_are_about(
    connection: asyncpg.Connection, store: PostgresStore
) -> None:
    for thorough, wanted in ((False, 1), (False, 50), (True, 50), (False, 500)):
        async with measured(connection) as claimed:
            assert len(await claim(store, wanted, thorough=thorough)) == wanted

        assert claimed.claim_entries <= wanted + 3
        assert claimed.fetched["queue"] <= 2 * wanted + 3
        assert claimed.fetched["jobs"] <= wanted
        assert claimed.scanned.keys() <= {"lanes"}

    rows = await connection.fetch("SELECT job_id FROM queue WHERE state = 3 ORDER BY seq LIMIT 50")
    some = [AttemptId(str(row[0]), 1) for row in rows]
    async with measured(connection) as touched:
        await do_everything(store, some)

    # Of the queue: once to find, once to lock and once to change, for each of nine calls; and what ages, at most.
    assert touched.fetched["queue"] <= 3 * 9 * len(some) + 2 * 2 * 500
    assert touched.fetched["jobs"] <= 6 * len(some)
    assert touched.scanned.keys() <= {"lanes", "executors"}


@pytest.mark.usefixtures("full_queue")
async def test_what_is_counted_is_found_by_its_jobs(connection: asyncpg.Connection, store: PostgresStore) -> None:
    rows = await connection.fetch("SELECT job_id FROM queue WHERE state = 3 ORDER BY seq LIMIT 50")
    first = [AttemptId(str(row[0]), 1) for row in rows]
    ids = [attempt.job_id for attempt in first]
    await connection.execute("UPDATE queue SET next_lane = 'gemini/other' WHERE job_id = ANY ($1::uuid[])", ids)

    async with measured(connection) as touched:
        await store.give_back([lost(attempt, store.time, unanswered=True) for attempt in first])
        assert len((await store.advance([passed(attempt, store.time) for attempt in first])).attempts) == 50
        assert len((await store.cancel(CLIENT, ids)).changed) == 50
        await store.note_late([record(attempt, store.time, AttemptOutcome.FAILED) for attempt in first])
        counted = (await used(store))[()]

    assert (counted.jobs, counted.wasted_usd, counted.unanswered_calls) == (50, 12.5, 0)
    assert touched.fetched["jobs"] <= 7 * 50
    assert touched.fetched["attempts"] <= 6 * 50
    assert touched.fetched["step"] <= 2 * 50
    assert touched.scanned.keys() <= {"lanes", "usage_daily"}


@pytest.mark.usefixtures("full_queue")
async def test_a_limited_submission_counts_no_further_than_its_limit(
    connection: asyncpg.Connection, store: PostgresStore
) -> None:
    await connection.execute(
        "UPDATE queue SET limited_client = CASE WHEN seq % 10 = 0 THEN $1 ELSE 'other' END", CLIENT
    )

    async with measured(connection) as touched:
        with pytest.raises(QueueFull):
            await store.insert_jobs(CLIENT, [new_job(store.time)], max_queued=100)
    async with measured(connection) as paced:
        await store.pace(CLIENT, 1, per_second=1)
        await store.pace(CLIENT, 1, per_second=1)

    assert touched.fetched["queue"] <= 101
    assert not touched.scanned.keys() & {"queue", "jobs"}
    assert paced.fetched["queue"] == 0


async def test_a_claim_does_not_walk_the_entries_of_jobs_that_left(
    connection: asyncpg.Connection, store: PostgresStore, database_url: str
) -> None:
    await fill(connection)
    # A snapshot that somebody holds keeps every entry in the index.
    reader = await asyncpg.connect(database_url)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("SELECT 1 FROM queue LIMIT 1")
        for _ in range(5):
            await claim(store, 400)
            await connection.execute("UPDATE lanes SET noted_time = noted_time - interval '11 seconds'")

        async with measured(connection) as touched:
            assert len(await claim(store, 50)) == 50
        async with measured(connection) as walked:
            assert len(await claim(store, 50, thorough=True)) == 50
    await reader.close()

    assert touched.claim_entries <= 500
    assert walked.claim_entries > 2_000
