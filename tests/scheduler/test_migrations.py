"""The migrations: they add up to the model, go up and down, and take the jobs along."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from stores import CLIENT, LANE, SPEC, claim, submit_alike, success

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from scheduler import spec_json
from scheduler.errors import StoreUnavailable, WrongRevision
from scheduler.job_ids import JobIds
from scheduler.jobs import JobState
from scheduler.postgres import migrate, partitions, revision
from scheduler.postgres.store import open_store
from scheduler.postgres.tables import metadata
from scheduler.records import AttemptId


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


async def insert_at_0001(url: str, states: Mapping[str, JobState]) -> None:
    """Store jobs as the first revision did; the running one runs for e1."""
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO lanes (lane) VALUES ($1)", LANE)
    for job_id, state in states.items():
        await connection.execute(
            "INSERT INTO jobs (job_id, client_id, user_id, create_time, traceparent, labels, spec)"
            " VALUES ($1, $2, 'user', now(), '', '{}', $3)",
            job_id,
            CLIENT,
            spec_json.encode(SPEC),
        )
        await connection.execute(
            "INSERT INTO queue (job_id, lane, state, rank, seq, step, due_time, queued_time, attempt, retry_count,"
            " max_retries, paid_calls, preparing_deaths, executor_id, session, stage, stage_time, attempt_time)"
            " VALUES ($1, $2, $3::int, 2, nextval('queue_seq'), 1, CASE WHEN $3 = 1 THEN now() END, now(), 1, 0,"
            " 3, 0, 0, 'e1', 1, 1, now(), now())",
            job_id,
            LANE,
            int(state),
        )
    await connection.close()


async def test_jobs_of_the_first_revision_go_on_after_an_upgrade(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url, "0001")
    queued, running, scheduled = (JobIds(randomness=SystemRandomness()).next(datetime.now(UTC)) for _ in range(3))
    await insert_at_0001(
        empty_database_url,
        {queued: JobState.QUEUED, running: JobState.RUNNING, scheduled: JobState.SCHEDULED},
    )

    await asyncio.to_thread(migrate.upgrade, empty_database_url)

    async with open_store(empty_database_url, clock=SystemClock()) as store:
        ended = await store.finish([success(AttemptId(running, 1), store.time)])
        await store.promote_due()
        claimed = await claim(store)
    assert list(ended.changed) == [running]
    assert [job.attempt_id for job in claimed] == [(queued, 2), (scheduled, 2)]


async def test_jobs_of_any_day_have_a_place_for_what_their_first_step_gives(empty_database_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_database_url, "0003")
    id_of_an_old_day = "01800000-0000-7000-8000-000000000000"
    await execute(
        empty_database_url,
        "CREATE TABLE jobs_20220406 PARTITION OF jobs"
        " FOR VALUES FROM ('01800000-0000-0000-0000-000000000000') TO ('01810000-0000-0000-0000-000000000000')",
    )

    await asyncio.to_thread(migrate.upgrade, empty_database_url)
    await execute(empty_database_url, f"INSERT INTO step_outputs VALUES ('{id_of_an_old_day}', '{{}}')")

    assert await fetch(empty_database_url, "SELECT count(*) FROM step_outputs_20220406") == 1


async def test_jobs_go_on_after_a_downgrade_followers_too(database_url: str) -> None:
    async with open_store(database_url, clock=SystemClock()) as store:
        submitted = await submit_alike(store, store.time, 2, 2)
        await store.add_lanes(["gemini/other"])

    await asyncio.to_thread(migrate.downgrade, database_url, "0001")
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT job_id, attempt FROM claim_jobs($1, ARRAY['e1'], ARRAY[1::bigint], ARRAY[9], 3, false)", LANE
    )
    await connection.close()

    assert [(str(row["job_id"]), row["attempt"]) for row in rows] == [(job_id, 1) for job_id in submitted]
    await asyncio.to_thread(migrate.upgrade, database_url)
    async with open_store(database_url, clock=SystemClock()) as store:
        ended = await store.finish([success(AttemptId(job_id, 1), store.time) for job_id in submitted])
    assert sorted(ended.changed) == submitted


async def test_two_migrations_at_once_do_not_trip_over_each_other(empty_database_url: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))

    assert await fetch(empty_database_url, "SELECT version_num FROM alembic_version") == revision.NEEDED


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
