"""A real Postgres for every test that wants one."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from devkit.embedded_postgres import EmbeddedPostgres
from scheduler.postgres import migrate

_TEMPLATE = "template_migrated"
_numbers = itertools.count(1)


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


@pytest.fixture
async def empty_database_url(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database of the test's own, without a table."""
    async with _database(postgres_server, "template1") as url:
        yield url


@pytest.fixture
async def database_url(postgres_server: EmbeddedPostgres, migrated_template: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with _database(postgres_server, migrated_template) as url:
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
