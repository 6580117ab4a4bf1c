"""What the store on Postgres drops now and then, after a busy minute, and while others use it."""

import asyncpg
from stores import CLIENT, insert, new_job

from scheduler.postgres.store import PostgresStore

_OLD_KEYS = """
INSERT INTO idempotency_keys (client_id, request_id, spec_hash, job_id, create_time)
SELECT $1, i::text, 'spec', gen_random_uuid(), now() - interval '26 hours' FROM generate_series(1, $2) i
"""
_COUNT = "SELECT count(*) FROM idempotency_keys"


async def test_all_that_grew_old_in_a_busy_minute_is_dropped_at_once(
    postgres_store: PostgresStore, store_url: str
) -> None:
    connection = await asyncpg.connect(store_url)
    await connection.execute(_OLD_KEYS, CLIENT, 25_000)

    await postgres_store.maintain()

    assert await connection.fetchval(_COUNT) == 0
    await connection.close()


async def test_an_old_key_that_is_taken_again_at_this_moment_stays(
    postgres_store: PostgresStore, store_url: str
) -> None:
    connection = await asyncpg.connect(store_url)
    await connection.execute(_OLD_KEYS, CLIENT, 2)
    async with connection.transaction():
        # As a submission does that has not committed yet.
        await connection.execute("UPDATE idempotency_keys SET create_time = now() WHERE request_id = '1'")
        await postgres_store.maintain()

    assert await connection.fetchval(_COUNT) == 1
    await connection.close()
    again = new_job(postgres_store.time, request_id="1")
    assert await insert(postgres_store, CLIENT, [again]) != [again.job_id]
