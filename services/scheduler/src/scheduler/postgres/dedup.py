"""Where new jobs stand among identical ones: behind a leader, answered by a recent result, or on their own.

Every key that a submission looks at stays locked until it has committed, so the end of a leader sees all its followers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from scheduler.jobs import CachePolicy, NewJob

# One row a key and call. A job leads unless somebody does, or the key has a recent result; that is no reason for a
# REFRESH.
_TAKE_KEYS = """
INSERT INTO dedup AS d (key, client_id, leader)
SELECT n.key, $1, n.job_id FROM unnest($2::bytea[], $3::uuid[]) AS n (key, job_id) ORDER BY n.key
ON CONFLICT (key) DO UPDATE SET leader = coalesce(d.leader, {otherwise})
RETURNING key, leader, CASE WHEN expire_time > now() AND {there} THEN result END AS result
"""
_THERE = "EXISTS (SELECT 1 FROM results r WHERE r.job_id = d.result)"
_TAKE_KEYS_TO_REFRESH = _TAKE_KEYS.format(there=_THERE, otherwise="excluded.leader")
_TAKE_KEYS_TO_USE = _TAKE_KEYS.format(
    there=_THERE, otherwise="CASE WHEN (d.expire_time > now()) IS NOT TRUE THEN excluded.leader END"
)
_TAKE_UNSEEN_KEYS = _TAKE_KEYS.format(
    there=_THERE,
    otherwise=f"CASE WHEN (d.expire_time > now() AND {_THERE}) IS NOT TRUE THEN excluded.leader END",
)

_LOCK_KEYS = """
INSERT INTO dedup AS d (key, client_id) SELECT DISTINCT key, $1 FROM unnest($2::bytea[]) AS n (key) ORDER BY key
ON CONFLICT (key) DO UPDATE SET client_id = d.client_id
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one job stands."""

    leader: str | None = None
    result: str | None = None


ALONE = Place()


async def find_places(connection: asyncpg.Connection, client_id: str, jobs: Sequence[NewJob]) -> Mapping[str, Place]:
    """Return the places of those jobs that do not stand on their own. Runs inside the submission's transaction."""
    taking_part = [job for job in jobs if job.dedup_key is not None and job.due_time is None]
    users = [job for job in taking_part if job.spec.cache is CachePolicy.USE]
    refreshers = [job for job in taking_part if job.spec.cache is not CachePolicy.USE]
    if refreshers and users:
        # The two statements below would lock their keys in no common order.
        await connection.execute(_LOCK_KEYS, client_id, [job.dedup_key for job in taking_part])
    if refreshers:
        await _take(connection, _TAKE_KEYS_TO_REFRESH, client_id, refreshers)
    if not users:
        return {}
    keys = await _take_to_use(connection, client_id, users)
    places = {job.job_id: _place(job, keys[job.dedup_key]) for job in users}
    return {job_id: place for job_id, place in places.items() if place != ALONE}


async def _take_to_use(
    connection: asyncpg.Connection, client_id: str, jobs: Sequence[NewJob]
) -> Mapping[bytes | None, asyncpg.Record]:
    keys = await _take(connection, _TAKE_KEYS_TO_USE, client_id, jobs)
    unseen = {key for key, row in keys.items() if row["leader"] is None and row["result"] is None}
    if not unseen:
        return keys
    # A recent result that was not to be seen: it was stored while this waited for the key, and shows to another
    # statement; or a purge has removed it.
    return keys | await _take(
        connection, _TAKE_UNSEEN_KEYS, client_id, [job for job in jobs if job.dedup_key in unseen]
    )


async def _take(
    connection: asyncpg.Connection, statement: str, client_id: str, jobs: Sequence[NewJob]
) -> dict[bytes | None, asyncpg.Record]:
    first: dict[bytes, str] = {}
    for job in jobs:
        if job.dedup_key is not None:
            first.setdefault(job.dedup_key, job.job_id)
    rows = await connection.fetch(statement, client_id, list(first), list(first.values()))
    return {row["key"]: row for row in rows}


def _place(job: NewJob, key: asyncpg.Record) -> Place:
    if key["result"] is not None:
        return Place(result=str(key["result"]))
    leader = str(key["leader"])
    return ALONE if leader == job.job_id else Place(leader=leader)
