import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from runtime.clock import SystemClock
from scheduler.errors import StoreUnavailable, WrongRevision
from scheduler.postgres import migrate, partitions, revision
from scheduler.postgres.store import open_store
from scheduler.postgres.tables import metadata


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def fetch(url: str, question: str) -> Any:
    connection = await asyncpg.connect(url)
    answer = await connection.fetchval(question)
    await connection.close()
    return answer


def differences(connection: Connection) -> list[Any]:
    def is_ours(_: object, name: str | None, kind: str, *rest: object) -> bool:
        partition = kind == "table" and any(str(name).startswith(f"{table}_2") for table in partitions.TABLES)
        return not partition and name != "alembic_version"

    context = MigrationContext.configure(
        connection, opts={"include_object": is_ours, "compare_type": True, "compare_server_default": True}
    )
    found: list[Any] = compare_metadata(context, metadata)
    return found


async def test_the_migrations_add_up_to_the_model(database_url: str) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url))
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert found == []


async def test_a_difference_would_be_found(database_url: str) -> None:
    await execute(database_url, "ALTER TABLE queue ADD COLUMN surprise int; DROP INDEX queue_claim_idx")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url))
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert sorted(difference[0] for difference in found) == ["add_index", "remove_column"]


async def test_a_downgrade_leaves_nothing_and_an_upgrade_brings_all_back(empty_database_url: str) -> None:
    count = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
    functions = (
        "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'"
    )

    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    made = await fetch(empty_database_url, count), await fetch(empty_database_url, functions)
    await asyncio.to_thread(migrate.downgrade, empty_database_url, "base")
    left = await fetch(empty_database_url, count), await fetch(empty_database_url, functions)
    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    made_again = await fetch(empty_database_url, count), await fetch(empty_database_url, functions)

    # alembic_version and its key stay.
    assert left == (2, 0)
    assert made == made_again


async def test_two_migrations_at_once_do_not_trip_over_each_other(empty_database_url: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))

    assert await fetch(empty_database_url, "SELECT version_num FROM alembic_version") == "0001"


async def test_partitions_reach_two_weeks_ahead(database_url: str) -> None:
    ahead = await fetch(
        database_url,
        "SELECT max(to_date(right(relname, 8), 'YYYYMMDD')) - (now() AT TIME ZONE 'UTC')::date"
        " FROM pg_class WHERE relname ~ '^jobs_[0-9]{8}$'",
    )

    assert ahead == 14


async def test_an_unmigrated_database_is_refused_with_the_command_that_migrates_it(empty_database_url: str) -> None:
    with pytest.raises(WrongRevision, match="visionjobs-scheduler migrate"):
        async with open_store(empty_database_url, clock=SystemClock()):
            pass


async def test_a_newer_database_is_refused_too(database_url: str) -> None:
    await execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(WrongRevision, match="newer"):
        async with open_store(database_url, clock=SystemClock()):
            pass


async def test_an_absent_database_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        async with open_store("postgresql://postgres@127.0.0.1:1/none", clock=SystemClock()):
            pass


def test_the_needed_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "visionjobs_migrations:")
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_current_head() == revision.NEEDED
