"""The stores that must behave alike."""

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from stores import FakeTime

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
def age_request_ids(store: Store, request: pytest.FixtureRequest) -> Callable[[datetime.timedelta], Awaitable[None]]:
    """Make all known request ids older; the time of a database cannot be moved, what it stored can."""
    if isinstance(store, MemoryStore):
        fake_time: FakeTime = request.getfixturevalue("fake_time")

        async def age(by: datetime.timedelta) -> None:
            fake_time.pass_by(by.total_seconds())

        return age
    url: str = request.getfixturevalue("database_url")

    async def age_rows(by: datetime.timedelta) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("UPDATE idempotency_keys SET create_time = create_time - $1::interval", by)
        finally:
            await connection.close()

    return age_rows
