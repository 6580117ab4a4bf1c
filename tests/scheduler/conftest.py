"""The stores that must behave alike."""

import datetime
from collections.abc import AsyncIterator

import asyncpg
import pytest
from store_worlds import empty, make_older
from stores import Age, FakeTime

from devkit.embedded_postgres import EmbeddedPostgres
from runtime.clock import SystemClock
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore, open_store


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def memory_store(fake_time: FakeTime) -> MemoryStore:
    return MemoryStore(clock=fake_time)


@pytest.fixture(scope="session")
async def shared_database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> str:
    name = "stores"
    connection = await asyncpg.connect(postgres_server.url())
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    finally:
        await connection.close()
    return postgres_server.url(name)


@pytest.fixture
async def store_url(shared_database_url: str) -> str:
    """A migrated database without a row, for one test at a time."""
    connection = await asyncpg.connect(shared_database_url)
    try:
        await empty(connection)
    finally:
        await connection.close()
    return shared_database_url


@pytest.fixture
async def postgres_store(store_url: str) -> AsyncIterator[PostgresStore]:
    async with open_store(store_url, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture(params=["memory_store", "postgres_store"])
def store(request: pytest.FixtureRequest) -> Store:
    # Asked for by name, so that the tests in memory start no server.
    chosen: Store = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def time(store: Store) -> StoreClock:
    return store.time


@pytest.fixture
def age_rows(store_url: str) -> Age:
    """Let time pass on Postgres."""

    async def move_rows(by: datetime.timedelta) -> None:
        connection = await asyncpg.connect(store_url)
        try:
            await make_older(connection, by)
        finally:
            await connection.close()

    return move_rows


@pytest.fixture
def age(store: Store, request: pytest.FixtureRequest) -> Age:
    """Let time pass."""
    if not isinstance(store, MemoryStore):
        move_rows: Age = request.getfixturevalue("age_rows")
        return move_rows
    fake_time: FakeTime = request.getfixturevalue("fake_time")

    async def move_clock(by: datetime.timedelta) -> None:
        fake_time.pass_by(by.total_seconds())

    return move_clock
