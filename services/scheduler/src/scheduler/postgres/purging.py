"""Forgets users. See ports.UserStore.

A purge works in bites, newest jobs first, each bite a transaction of its own: what a crash leaves undone is found again
by the next call, for a job is marked as purged together with the last of its content.
"""

import json
import uuid
from collections.abc import AsyncIterator, Collection, Sequence

import asyncpg

from scheduler import spec_json
from scheduler.jobs import JobState
from scheduler.postgres.database import Database, Queries
from scheduler.postgres.purged_images import remove_images
from scheduler.postgres.purged_usage import remove_labels
from scheduler.records import Purged

# Purges one after the other, and none while late records of attempts are written (which share it): each sees what the
# others did, and no row has to be looked at twice, which crashes Postgres 18 on partitioned tables.
_LOCK = 0x7669_736A_6F62_0003
_LOCK_PURGES = f"SELECT pg_advisory_xact_lock({_LOCK})"
LOCK_LATE_RECORDS = f"SELECT pg_advisory_xact_lock_shared({_LOCK})"
FIND_PURGED = "SELECT job_id FROM jobs WHERE job_id = ANY ($1::uuid[]) AND purge_time IS NOT NULL"

_PAGE = """
SELECT j.job_id, j.purge_time IS NULL AND q.job_id IS NULL AS due
FROM jobs j LEFT JOIN queue q ON q.job_id = j.job_id
WHERE j.client_id = $1 AND j.user_id = $2 AND j.job_id < $3
ORDER BY j.job_id DESC LIMIT 1000
"""
_AFTER_ALL = uuid.UUID(int=2**128 - 1)
# The queue is read once for the images of so many jobs.
_JOBS_AT_ONCE = 20_000
# A statement has two seconds.
_BITE = 200

# A submission that was answered by one of these results has committed when its key is locked, and later ones find none.
_LOCK_KEYS = "SELECT key FROM dedup WHERE result = ANY ($1::uuid[]) ORDER BY key FOR UPDATE"

_FIND_HEIRS = """
SELECT keeper.id AS keeper, heir.job_id AS heir
FROM unnest($1::uuid[]) AS keeper (id) CROSS JOIN LATERAL (
    SELECT r.job_id FROM results r JOIN jobs j ON j.job_id = r.job_id
    WHERE r.cached_from = keeper.id AND r.job_id <> keeper.id AND j.user_id <> $2 AND j.purge_time IS NULL
    LIMIT 1
) heir
LIMIT 20
"""
_GIVE_TO_HEIRS = """
UPDATE results r SET output_json = kept.output_json, model_version = kept.model_version, cached_from = r.job_id
FROM (
    SELECT h.heir, k.output_json, result_model(k.job_id) AS model_version
    FROM unnest($1::uuid[], $2::uuid[]) AS h (keeper, heir) JOIN results k ON k.job_id = h.keeper
) kept
WHERE r.job_id = kept.heir
"""
# Thousands may share a result. Those that are left find another heir.
_POINT_TO_HEIRS = """
WITH sharing AS MATERIALIZED (
    SELECT r.job_id, h.heir
    FROM unnest($1::uuid[], $2::uuid[]) AS h (keeper, heir) JOIN results r ON r.cached_from = h.keeper
    WHERE r.job_id <> h.keeper
    LIMIT 5000
)
UPDATE results r SET cached_from = sharing.heir FROM sharing WHERE r.job_id = sharing.job_id
"""
_ANSWER_FROM_HEIRS = """
UPDATE dedup d SET result = h.heir FROM unnest($1::uuid[], $2::uuid[]) AS h (keeper, heir) WHERE d.result = h.keeper
"""

_ANSWER_NO_MORE = "UPDATE dedup SET result = NULL, expire_time = NULL WHERE result = ANY ($1::uuid[])"
_DROP_KEYS = "DELETE FROM dedup WHERE key = ANY ($1::bytea[]) AND leader IS NULL AND result IS NULL"
_ERASE_ATTEMPTS = """
UPDATE attempts
SET raw_answer = NULL, output_path = NULL, error_message = CASE WHEN error_message IS NOT NULL THEN '' END
WHERE job_id = ANY ($1::uuid[])
"""
_ERASE_STEPS = "DELETE FROM step_outputs WHERE job_id = ANY ($1::uuid[])"
# One that shared a result names itself from now on: so it still says that it cost nothing.
_ERASE_RESULTS = """
UPDATE results
SET output_json = NULL, error_message = CASE WHEN error_message IS NOT NULL THEN '' END,
    model_version = CASE WHEN cached_from IS NOT NULL THEN result_model(cached_from) END,
    cached_from = CASE WHEN cached_from IS NOT NULL THEN job_id END
WHERE job_id = ANY ($1::uuid[])
RETURNING state
"""
_ERASE_JOBS = """
UPDATE jobs SET labels = '{}', spec = blank_spec(spec, $2::json), purge_time = now()
WHERE job_id = ANY ($1::uuid[]) AND purge_time IS NULL
RETURNING job_id
"""

_POST = "INSERT INTO commands (kind, payload) VALUES ('purged', $1::jsonb)"
_POSTED = """
SELECT id, payload FROM commands WHERE kind = 'purged' AND create_time > now() - interval '10 seconds'
"""


class Purging(Queries):
    """Implements UserStore, and the words about purges of CommandStore."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._purged_taken: set[int] = set()

    async def purge_user(self, client_id: str, user_id: str) -> Purged:
        total = Purged()
        async for ids in self._due_jobs(client_id, user_id):
            # Before the jobs, which name them.
            removed, kept = await remove_images(self._database, client_id, user_id, ids)
            total += Purged(images=removed, kept_images=frozenset(kept))
            for start in range(0, len(ids), _BITE):
                total += await self._erase(user_id, ids[start : start + _BITE])
        # After the jobs, whose labels are what is counted by.
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_LOCK_PURGES)
            await remove_labels(connection, client_id, user_id)
        return total

    async def _due_jobs(self, client_id: str, user_id: str) -> AsyncIterator[Sequence[uuid.UUID]]:
        """Yield the user's final jobs that are not purged, many at a time."""
        due: list[uuid.UUID] = []
        before = _AFTER_ALL
        while True:
            async with self._database.planning_anew() as connection:
                page = await connection.fetch(_PAGE, client_id, user_id, before)
            due += [row["job_id"] for row in page if row["due"]]
            if due and (not page or len(due) >= _JOBS_AT_ONCE):
                yield due
                due = []
            if not page:
                return
            before = page[-1]["job_id"]

    async def _erase(self, user_id: str, ids: Collection[uuid.UUID]) -> Purged:
        """Remove what jobs say and gave, after others have what they need of it."""
        while True:
            async with self._database.connection() as connection, connection.transaction():
                await connection.execute(_LOCK_PURGES)
                keys = [row["key"] for row in await connection.fetch(_LOCK_KEYS, ids)]
                heirs = await connection.fetch(_FIND_HEIRS, ids, user_id)
                if not heirs:
                    return await _erase_content(connection, ids, keys)
                await _hand_on(connection, heirs)

    async def post_purged(self, client_id: str, user_id: str) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(_POST, json.dumps([client_id, user_id]))

    async def take_purged(self) -> Collection[tuple[str, str]]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_POSTED)
        fresh = [json.loads(row["payload"]) for row in rows if row["id"] not in self._purged_taken]
        self._purged_taken = {row["id"] for row in rows}
        return [(client_id, user_id) for client_id, user_id in fresh]


async def _hand_on(connection: asyncpg.Connection, heirs: Sequence[asyncpg.Record]) -> None:
    """Give results to jobs that share them, and let the others read them there."""
    pairs = [row["keeper"] for row in heirs], [row["heir"] for row in heirs]
    await connection.execute(_GIVE_TO_HEIRS, *pairs)
    await connection.execute(_POINT_TO_HEIRS, *pairs)
    await connection.execute(_ANSWER_FROM_HEIRS, *pairs)


async def _erase_content(connection: asyncpg.Connection, ids: Collection[uuid.UUID], keys: Collection[bytes]) -> Purged:
    await connection.execute(_ANSWER_NO_MORE, ids)
    await connection.execute(_DROP_KEYS, keys)
    erased = [row["job_id"] for row in await connection.fetch(_ERASE_JOBS, ids, spec_json.blanks())]
    await connection.execute(_ERASE_ATTEMPTS, erased)
    await connection.execute(_ERASE_STEPS, erased)
    states = [row["state"] for row in await connection.fetch(_ERASE_RESULTS, erased)]
    return Purged(jobs=len(erased), results=states.count(JobState.SUCCEEDED))
