"""Lists of jobs on Postgres, as the driver runs them: they read about as much of a long history as they return."""

from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
import pytest
from stores import CLIENT
from test_store_plans import HOUR, OneConnection, fill, measured

from runtime.clock import SystemClock
from scheduler.jobs import JobState
from scheduler.postgres.database import SERVER_SETTINGS, Database
from scheduler.postgres.store import PostgresStore
from scheduler.records import JobQuery

_OF_USER = JobQuery(labels={}, user_id="user")
_OF_ALL = JobQuery(labels={})
_RUNNING = JobQuery(labels={}, states=frozenset({JobState.RUNNING}))


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to 40,000 jobs, a quarter of which have ended; 300 run."""
    connection = await asyncpg.connect(database_url, server_settings={**SERVER_SETTINGS, "statement_timeout": "60s"})
    await fill(connection)
    await connection.execute("VACUUM ANALYZE")
    yield connection
    await connection.close()


@pytest.mark.parametrize("query", [_OF_USER, _OF_ALL])
async def test_a_page_reads_no_more_than_it_shows(history: asyncpg.Connection, query: JobQuery) -> None:
    store = PostgresStore(
        Database(cast("Any", OneConnection(history)), max_size=10, clock=SystemClock(), result_lifetime=HOUR)
    )

    async with measured(history) as touched:
        jobs = await store.list_jobs(CLIENT, query, before=None, limit=50, attempts=False)

    assert len(jobs) == 50
    assert touched.scanned.total() + touched.fetched.total() <= 5 * 50


async def test_the_running_ones_are_found_in_the_queue(history: asyncpg.Connection) -> None:
    store = PostgresStore(
        Database(cast("Any", OneConnection(history)), max_size=10, clock=SystemClock(), result_lifetime=HOUR)
    )

    async with measured(history) as touched:
        assert len(await store.list_ids(CLIENT, _RUNNING, before=None, limit=500)) == 300

    assert touched.scanned.total() + touched.fetched.total() <= 3 * 300
