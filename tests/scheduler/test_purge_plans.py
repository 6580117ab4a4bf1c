"""A purge on Postgres, as the driver runs it: it reads what it removes, and not the history of everybody."""

from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import pytest
from stores import CLIENT, IMAGE_REF, KEY, NEW_IMAGE, claim, insert, new_job, success
from test_store_plans import HOUR, OneConnection, fill, measured

from runtime.clock import SystemClock
from scheduler.postgres.database import SERVER_SETTINGS, Database
from scheduler.postgres.store import PostgresStore
from scheduler.records import Purged

_ENDED, _QUEUED = 10_000, 30_000
LEAVER = "somebody who leaves"


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to 40,000 jobs of one user, a quarter of which have ended."""
    connection = await asyncpg.connect(database_url, server_settings={**SERVER_SETTINGS, "statement_timeout": "60s"})
    await fill(connection)
    await connection.execute("UPDATE results SET output_json = '{}'")
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


@pytest.fixture
def store(history: asyncpg.Connection) -> PostgresStore:
    pool = cast("Any", OneConnection(history))
    return PostgresStore(Database(pool, max_size=10, clock=SystemClock(), result_lifetime=HOUR))


async def test_a_user_with_many_jobs_is_purged_by_few_looks_at_each(
    store: PostgresStore, history: asyncpg.Connection
) -> None:
    async with measured(history) as touched:
        assert await store.purge_user(CLIENT, "user") == Purged(jobs=_ENDED, results=_ENDED)

    assert touched.scanned.total() == 0
    assert touched.fetched.total() <= 2 * _QUEUED + 10 * _ENDED


async def test_a_user_with_few_jobs_among_many_costs_little_but_a_look_into_the_queue(
    store: PostgresStore, history: asyncpg.Connection
) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE])
    lane = "gemini/gemini-3.5-flash"
    jobs = [
        new_job(store.time, model="gemini-3.5-flash", user_id=user, dedup_key=KEY, images=(IMAGE_REF,))
        for user in (LEAVER, "another", LEAVER)
    ]
    await insert(store, CLIENT, jobs)
    [job] = await claim(store, lane=lane)
    await store.finish([success(job.attempt_id, store.time)])

    async with measured(history) as touched:
        told = await store.purge_user(CLIENT, LEAVER)

    # Jobs of the other user wait with that image.
    assert told == Purged(jobs=2, results=2, kept_images=frozenset({IMAGE_REF.sha256}))
    assert touched.scanned.total() <= 10
    assert touched.fetched.total() <= _QUEUED + 500
