"""Brings a database to the revision that this code needs."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import StoreUnavailable
from scheduler.postgres import partitions
from scheduler.postgres.tables import metadata

# Two migrations at the same time would trip over each other.
_LOCK = 0x7669_736A_6F62_0001

# Schedulers that still run lock the tables in other orders: the migration gives way before anybody calls it a deadlock,
# and tries again.
_GIVE_WAY_AFTER = "200ms"
_GAVE_WAY = "55P03"
_PAUSE_SECONDS = 0.1
_TRIES = 200

_Connect = Callable[[], Awaitable[asyncpg.Connection]]


def upgrade(url: str, revision: str = "head", *, password: Callable[[], str] | None = None) -> None:
    """Migrate up to the revision, and make the partitions of the coming days. Blocks; needs no running loop.

    Args:
        url: Of the database.
        revision: The one to reach.
        password: Reads the password, for each connection, if the URL has none.

    Raises:
        StoreUnavailable: The database does not answer, or does not let us in.
    """

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, password=password)

    try:
        asyncio.run(_run(connect, lambda config: command.upgrade(config, revision)))
        asyncio.run(_make_partitions(connect))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"The database is away: {error}") from error
    except DBAPIError as error:
        raise StoreUnavailable(f"The database is away: {error.orig}") from error


def downgrade(url: str, revision: str) -> None:
    """Migrate down to the revision; "base" empties the database. Blocks; needs no running loop."""
    asyncio.run(_run(lambda: asyncpg.connect(url), lambda config: command.downgrade(config, revision)))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "visionjobs_migrations:")
    config.set_main_option("path_separator", "os")
    return config


async def _run(connect: _Connect, run: Callable[[Config], None]) -> None:
    for _ in range(_TRIES - 1):
        try:
            return await _run_once(connect, run)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _GAVE_WAY:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    return await _run_once(connect, run)


async def _run_once(connect: _Connect, run: Callable[[Config], None]) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)

    def migrate(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_GIVE_WAY_AFTER}'")
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["metadata"] = metadata
        run(config)

    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


async def _make_partitions(connect: _Connect) -> None:
    connection = await connect()
    try:
        await partitions.make_ahead(connection)
    finally:
        await connection.close()
