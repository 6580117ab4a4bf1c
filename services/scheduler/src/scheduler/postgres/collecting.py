"""Removes images that nobody needs any more. See ports.CollectionStore.

An image lives for a day, or longer, after it was sent or named. Jobs that wait or run for longer than half of that
need theirs for longer: before images are removed, all of these are looked at, and their images get another day. What
had expired when that began is then needed by nobody: a job that is younger named its image less than half a day
before, and keep_images makes sure of that where it is stored.

Every bite is a transaction of its own, and waits for nothing: what is locked is left to the next time.
"""

import contextlib
import datetime
import uuid
from collections.abc import AsyncIterator, Collection

import asyncpg

from scheduler.postgres.image_bites import MOST_ROWS, bites
from scheduler.postgres.images import Images

# One scheduler at a time looks through the queue; who finds another one at it leaves it to that one.
_TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({0x7669_736A_6F62_0004}) AS taken"
_OLD = datetime.timedelta(hours=12)
# The second step needs no images.
_OLD_JOBS = """
SELECT job_id FROM queue WHERE job_id > $1 AND job_id < $2 AND step = 1 ORDER BY job_id LIMIT 200
"""
_USED = """
SELECT DISTINCT j.client_id, i ->> 'sha256' AS sha256
FROM jobs j CROSS JOIN LATERAL json_array_elements(j.spec -> 'images') i
WHERE j.job_id = ANY ($1::uuid[]) AND i ->> 'sha256' <> ''
"""
_RENEW = """
WITH short AS MATERIALIZED (
    SELECT i.client_id, i.sha256
    FROM unnest($1::text[], $2::bytea[]) AS n (client_id, sha256)
        JOIN images i ON i.client_id = n.client_id AND i.sha256 = n.sha256
    WHERE i.expire_time < now() + $3::interval
    ORDER BY i.client_id, i.sha256 FOR NO KEY UPDATE OF i
)
UPDATE images i SET expire_time = greatest(i.expire_time, now() + $4::interval)
FROM short WHERE i.client_id = short.client_id AND i.sha256 = short.sha256
"""

# What is stored elsewhere weighs nothing here.
_EXPIRED = """
SELECT client_id, sha256, CASE WHEN object_key IS NULL THEN size ELSE 0 END AS weight
FROM images WHERE expire_time < $1 ORDER BY expire_time LIMIT $2
"""
_REMOVE = """
WITH expired AS MATERIALIZED (
    SELECT i.client_id, i.sha256
    FROM unnest($1::text[], $2::bytea[]) AS n (client_id, sha256)
        JOIN images i ON i.client_id = n.client_id AND i.sha256 = n.sha256
    WHERE i.expire_time < $3 FOR UPDATE OF i SKIP LOCKED
), gone AS (
    DELETE FROM images i USING expired WHERE i.client_id = expired.client_id AND i.sha256 = expired.sha256
    RETURNING i.object_key
), noted AS (
    INSERT INTO image_objects (object_key, remove_time)
    SELECT object_key, '-infinity' FROM gone WHERE object_key IS NOT NULL
)
SELECT count(*) AS removed FROM gone
"""

# From here on whoever still writes one of these cannot give it to an image.
_CLAIM_OBJECTS = """
WITH due AS MATERIALIZED (
    SELECT object_key FROM image_objects WHERE object_key > $1 AND remove_time <= now()
    ORDER BY object_key LIMIT 200 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE image_objects o SET remove_time = '-infinity' FROM due WHERE o.object_key = due.object_key
    RETURNING o.object_key
)
SELECT object_key FROM claimed ORDER BY object_key
"""
_FORGET_OBJECTS = "DELETE FROM image_objects WHERE object_key = ANY ($1::text[])"

_BEFORE_ALL = uuid.UUID(int=0)


class Collecting(Images):
    """Implements CollectionStore."""

    async def renew_images(self) -> datetime.datetime | None:
        async with self._database.connection() as connection:
            [row] = await connection.fetch("SELECT now() AS now")
        began: datetime.datetime = row["now"]
        after, before = _BEFORE_ALL, _first_id(began - _OLD)
        while True:
            async with self._look() as connection:
                if connection is None:
                    return None
                ids = [job["job_id"] for job in await connection.fetch(_OLD_JOBS, after, before)]
                if not ids:
                    return began
                await self._renew(connection, ids)
            after = ids[-1]

    @contextlib.asynccontextmanager
    async def _look(self) -> AsyncIterator[asyncpg.Connection | None]:
        """Lend a connection in a transaction; None if another scheduler is at it."""
        async with self._database.connection() as connection, connection.transaction():
            [row] = await connection.fetch(_TRY_LOCK)
            yield connection if row["taken"] else None

    async def _renew(self, connection: asyncpg.Connection, job_ids: Collection[uuid.UUID]) -> None:
        used = await connection.fetch(_USED, job_ids)
        if used:
            hashes = [bytes.fromhex(row["sha256"]) for row in used]
            await connection.execute(_RENEW, [row["client_id"] for row in used], hashes, _OLD, self._image_lifetime)

    async def collect_images(self, expired_before: datetime.datetime) -> int:
        collected = 0
        while True:
            async with self._database.connection() as connection:
                page = await connection.fetch(_EXPIRED, expired_before, MOST_ROWS)
            removed = 0
            for bite in bites({(row["client_id"], row["sha256"]): row["weight"] for row in page}):
                removed += await self._remove(bite, expired_before)
            collected += removed
            # Of a page that is locked, nothing goes.
            if not removed or len(page) < MOST_ROWS:
                return collected

    async def _remove(self, images: Collection[tuple[str, bytes]], expired_before: datetime.datetime) -> int:
        clients, hashes = [client_id for client_id, _ in images], [sha256 for _, sha256 in images]
        async with self._database.connection() as connection:
            [row] = await connection.fetch(_REMOVE, clients, hashes, expired_before)
        removed: int = row["removed"]
        return removed

    async def remove_objects(self) -> tuple[int, int]:
        removed = left = 0
        after = ""
        while self._objects is not None:
            async with self._database.connection() as connection:
                due = [row["object_key"] for row in await connection.fetch(_CLAIM_OBJECTS, after)]
            if not due:
                break
            gone = await self._objects.remove(due)
            async with self._database.connection() as connection:
                await connection.execute(_FORGET_OBJECTS, list(gone))
            removed, left = removed + len(gone), left + len(due) - len(gone)
            after = due[-1]
        return removed, left


def _first_id(time: datetime.datetime) -> uuid.UUID:
    """Return the smallest id of a job of this time: ids begin with their milliseconds."""
    return uuid.UUID(int=int(time.timestamp() * 1000) << 80)
