"""What the store on Postgres does now and then: it drops what nobody asks for any more, and nothing else."""

import datetime

import asyncpg
from stores import CLIENT, KEY, LANE, Age, claim, insert, new_job, submit_alike, success

from scheduler.postgres.store import PostgresStore
from scheduler.records import Alert, AttemptId, RefusedKind, RunningAttempt

STOP = RunningAttempt(AttemptId("01990000-0000-7000-8000-000000000000", 1), "e1", 1)


async def count(url: str, table: str) -> int:
    connection = await asyncpg.connect(url)
    rows: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    await connection.close()
    return rows


async def test_old_words_between_schedulers_are_dropped(
    postgres_store: PostgresStore, store_url: str, age_rows: Age
) -> None:
    await postgres_store.post_stops([STOP])
    await postgres_store.maintain()
    assert await count(store_url, "commands") == 1

    await age_rows(datetime.timedelta(minutes=2))
    await postgres_store.maintain()

    assert await count(store_url, "commands") == 0


async def test_request_ids_are_kept_for_a_day(postgres_store: PostgresStore, store_url: str, age_rows: Age) -> None:
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, request_id="r")])
    await age_rows(datetime.timedelta(hours=24))
    await postgres_store.maintain()
    assert await count(store_url, "idempotency_keys") == 1

    await age_rows(datetime.timedelta(hours=2))
    await postgres_store.maintain()

    assert await count(store_url, "idempotency_keys") == 0


async def test_refusals_are_kept_for_a_day_and_longer_while_they_stop_something(
    postgres_store: PostgresStore, store_url: str, age_rows: Age
) -> None:
    for key, rest in (("ab" * 32, 1), ("cd" * 32, 30)):
        await postgres_store.note_refused(
            RefusedKind.SCHEMA, CLIENT, key, LANE, "No.", limit=1, rest=datetime.timedelta(hours=rest)
        )
    await age_rows(datetime.timedelta(hours=23))
    await postgres_store.maintain()
    assert await count(store_url, "refusals") == 2

    await age_rows(datetime.timedelta(hours=2))
    await postgres_store.maintain()

    assert [refused.key for refused in await postgres_store.refused()] == ["cd" * 32]
    assert await count(store_url, "refusals") == 1


async def test_alerts_that_are_over_are_kept_for_ninety_days(
    postgres_store: PostgresStore, store_url: str, age_rows: Age
) -> None:
    for subject in ("over", "active"):
        await postgres_store.raise_alert(
            Alert(name="A", subject=subject, severity="WARNING", message="", start_time=postgres_store.time.now())
        )
    await postgres_store.end_alert("A", "over")
    await age_rows(datetime.timedelta(days=89))
    await postgres_store.maintain()
    assert await count(store_url, "alerts") == 2

    await age_rows(datetime.timedelta(days=2))
    await postgres_store.maintain()

    assert [alert.subject for alert in await postgres_store.alerts(include_ended=True, limit=10)] == ["active"]


async def test_keys_are_kept_while_their_result_lives_or_somebody_leads(
    postgres_store: PostgresStore, store_url: str, age_rows: Age
) -> None:
    time = postgres_store.time
    await submit_alike(postgres_store, time, 2)
    [job] = await claim(postgres_store)
    await postgres_store.finish([success(job.attempt_id, time)])
    await postgres_store.maintain()
    assert await count(store_url, "dedup") == 1

    await age_rows(datetime.timedelta(hours=2))
    [leader] = await submit_alike(postgres_store, time, 2)
    await postgres_store.maintain()
    [follower] = await postgres_store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY)])
    assert follower.leader == leader

    await postgres_store.cancel(CLIENT, [leader, follower.job_id])
    await postgres_store.maintain()
    assert await count(store_url, "dedup") == 0
