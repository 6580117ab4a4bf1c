"""A migration while schedulers are at work: it gives way to them, and comes to its end."""

import asyncio

import asyncpg

from scheduler.postgres import migrate, revision

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_claim_that_a_migration_would_deadlock_with_is_not_disturbed(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url, "0001")
    claimer, watcher = await asyncpg.connect(empty_database_url), await asyncpg.connect(empty_database_url)
    await claimer.execute("SET deadlock_timeout = '60s'")

    async with asyncio.TaskGroup() as tasks:
        async with claimer.transaction():
            # What was locked first is what the migration wants last.
            await claimer.execute("LOCK TABLE dedup IN ROW EXCLUSIVE MODE")
            migration = tasks.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
            while not await watcher.fetchval(_WAITING):
                pass
            assert await claimer.fetchval("SELECT count(*) FROM queue") == 0
        await migration

    assert await watcher.fetchval("SELECT version_num FROM alembic_version") == revision.NEEDED
    for connection in (claimer, watcher):
        await connection.close()
