"""The stores that must behave alike."""

import datetime
from collections.abc import AsyncIterator

import asyncpg
import pytest
from stores import Age, FakeTime

from runtime.clock import SystemClock
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore, open_store

# The times that stores compare with the present.
_TIMES = (("idempotency_keys", "create_time"), ("executors", "last_seen"), ("queue", "due_time"))


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def memory_store(fake_time: FakeTime) -> MemoryStore:
    return MemoryStore(clock=fake_time)


@pytest.fixture
async def postgres_store(database_url: str) -> AsyncIterator[PostgresStore]:
    async with open_store(database_url, clock=SystemClock()) as opened:
        yield opened


@pytest.fixture(params=["memory_store", "postgres_store"])
def store(request: pytest.FixtureRequest) -> Store:
    # Asked for by name, so that the tests in memory start no server.
    chosen: Store = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def time(store: Store) -> StoreClock:
    clock: StoreClock = store.time  # type: ignore[attr-defined]
    return clock


@pytest.fixture
def age(store: Store, request: pytest.FixtureRequest) -> Age:
    """Let time pass: the time of a database cannot be moved, but what is stored in it can be made older."""
    if isinstance(store, MemoryStore):
        fake_time: FakeTime = request.getfixturevalue("fake_time")

        async def move_clock(by: datetime.timedelta) -> None:
            fake_time.pass_by(by.total_seconds())

        return move_clock
    url: str = request.getfixturevalue("database_url")

    async def move_rows(by: datetime.timedelta) -> None:
        connection = await asyncpg.connect(url)
        try:
            for table, column in _TIMES:
                await connection.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", by)
        finally:
            await connection.close()

    return move_rows
