"""The stores that must behave alike."""

from collections.abc import AsyncIterator

import pytest
from stores import FakeTime

from runtime.clock import SystemClock
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore, open_store


@pytest.fixture
def memory_store() -> MemoryStore:
    return MemoryStore(clock=FakeTime())


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
