"""Removes the images of a purge, but for those that somebody else needs.

A submission sends or names its images first and stores its jobs after that, so no single look can tell who needs one.
Therefore a purge marks the images, reads in the queue which of them jobs of other users need, and removes those that
still bear its mark. Whoever sends or names an image wipes the mark off, and keep_images does so where jobs are stored:
- A job that was stored before the mark is seen in the queue: the mark waits for the lock of keep_images.
- A job that is stored after the mark wipes it off, and its image stays.
- A job that is stored after the removal is refused: keep_images does not find its image.
What another purge has marked since is left to that one: it looks into the queue later than this one did. Bytes that
are not in the database are noted here, and removed by the collection.
"""

import uuid
from collections.abc import Collection, Sequence

import asyncpg

from scheduler.postgres.database import Database
from scheduler.postgres.image_bites import MOST_ROWS, bites

# Locked in the order of submissions, and more strongly than keep_images does.
_MARK = """
WITH locked AS MATERIALIZED (
    SELECT sha256 FROM images WHERE client_id = $1 AND sha256 = ANY ($2::bytea[]) ORDER BY sha256 FOR UPDATE
)
UPDATE images i SET purge_id = $3 FROM locked WHERE i.client_id = $1 AND i.sha256 = locked.sha256
RETURNING i.sha256, i.size
"""
# Specs are up to a megabyte each, and a statement has two seconds.
_JOBS_AT_ONCE = 200
_USED = """
SELECT DISTINCT i ->> 'sha256' AS sha256 FROM jobs j CROSS JOIN LATERAL json_array_elements(j.spec -> 'images') i
WHERE j.job_id = ANY ($1::uuid[])
"""
_QUEUED = "SELECT job_id FROM queue WHERE job_id > $1 ORDER BY job_id LIMIT 200"
_NEEDED = _USED + "AND j.client_id = $2 AND j.user_id <> $3"
_REMOVE = """
WITH marked AS MATERIALIZED (
    SELECT sha256 FROM images WHERE client_id = $1 AND sha256 = ANY ($2::bytea[]) AND purge_id = $3
    ORDER BY sha256 FOR UPDATE
), gone AS (
    DELETE FROM images i USING marked WHERE i.client_id = $1 AND i.sha256 = marked.sha256
    RETURNING i.sha256, i.object_key
), noted AS (
    INSERT INTO image_objects (object_key, remove_time)
    SELECT object_key, '-infinity' FROM gone WHERE object_key IS NOT NULL
)
SELECT sha256 FROM gone
"""
_BEFORE_ALL = uuid.UUID(int=0)


async def remove_images(
    database: Database, client_id: str, user_id: str, job_ids: Sequence[uuid.UUID]
) -> tuple[int, set[str]]:
    """Remove the images of a user's jobs; return how many are gone, and the hashes of those that stay."""
    purge_id = uuid.uuid4()
    sizes = await _mark(database, client_id, await _used(database, job_ids), purge_id)
    if not sizes:
        return 0, set()
    needed = await _needed(database, client_id, user_id)
    stay = {bytes.fromhex(sha256) for sha256 in needed} & sizes.keys()
    removed = 0
    for bite in bites({sha256: size for sha256, size in sizes.items() if sha256 not in stay}):
        async with database.connection() as connection:
            gone = {row["sha256"] for row in await connection.fetch(_REMOVE, client_id, bite, purge_id)}
        removed += len(gone)
        stay |= {*bite} - gone
    return removed, {sha256.hex() for sha256 in stay}


async def _used(database: Database, job_ids: Sequence[uuid.UUID]) -> set[str]:
    used: set[str] = set()
    for start in range(0, len(job_ids), _JOBS_AT_ONCE):
        async with database.connection() as connection:
            rows = await connection.fetch(_USED, job_ids[start : start + _JOBS_AT_ONCE])
        used |= {row["sha256"] for row in rows}
    return used


async def _mark(database: Database, client_id: str, sha256s: Collection[str], purge_id: uuid.UUID) -> dict[bytes, int]:
    """Mark those of the images that exist; return their sizes."""
    hashes = sorted(bytes.fromhex(sha256) for sha256 in sha256s)
    sizes: dict[bytes, int] = {}
    for start in range(0, len(hashes), MOST_ROWS):
        async with database.connection() as connection:
            rows = await connection.fetch(_MARK, client_id, hashes[start : start + MOST_ROWS], purge_id)
        sizes |= {row["sha256"]: row["size"] for row in rows}
    return sizes


async def _needed(database: Database, client_id: str, user_id: str) -> set[str]:
    """Return the images that unfinished jobs of the client's other users need."""
    needed: set[str] = set()
    after = _BEFORE_ALL
    while True:
        async with database.connection() as connection:
            page: Sequence[asyncpg.Record] = await connection.fetch(_QUEUED, after)
            if not page:
                return needed
            ids = [row["job_id"] for row in page]
            needed |= {row["sha256"] for row in await connection.fetch(_NEEDED, ids, client_id, user_id)}
        after = ids[-1]
