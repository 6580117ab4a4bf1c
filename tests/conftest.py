"""A real Postgres for every test that wants one."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from devkit.embedded_postgres import EmbeddedPostgres
from scheduler.postgres import migrate

_TEMPLATE = "template_migrated"
_numbers = itertools.count(1)

# Where tests take longest: begun first, so that at the end only short ones are left to share.
_LONG_FIRST = ("simulation", "e2e", "scheduler", "executor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first; the workers of pytest-xdist take one module after the other."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    area = item.path.parent.name
    return _LONG_FIRST.index(area) if area in _LONG_FIRST else len(_LONG_FIRST)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """An embedded server with a migrated database to copy. It need not survive a power cut."""
    with EmbeddedPostgres(data_dir=tmp_path_factory.mktemp("postgres") / "data", settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
async def migrated_template(postgres_server: EmbeddedPostgres) -> str:
    await asyncio.to_thread(postgres_server.create_database, _TEMPLATE)
    await asyncio.to_thread(migrate.upgrade, postgres_server.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def migrated_database(
    postgres_server: EmbeddedPostgres, migrated_template: str
) -> Callable[[], AbstractAsyncContextManager[str]]:
    """Return what makes a migrated database while its block runs, and gives its URL."""
    return lambda: _database(postgres_server, migrated_template)


@pytest.fixture
async def empty_database_url(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database of the test's own, without a table."""
    async with _database(postgres_server, "template1") as url:
        yield url


@pytest.fixture
async def database_url(migrated_database: Callable[[], AbstractAsyncContextManager[str]]) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with migrated_database() as url:
        yield url


@contextlib.asynccontextmanager
async def _database(server: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server.url(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
