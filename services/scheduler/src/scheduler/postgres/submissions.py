"""Takes jobs in. See ports.SubmissionStore."""

import asyncio
import contextlib
import datetime
import weakref
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import asyncpg

from policies import submission_rate
from scheduler.errors import QueueFull, RequestIdReused, StoreUnavailable
from scheduler.jobs import NewJob
from scheduler.postgres.database import Database, Queries
from scheduler.postgres.dedup import ALONE, Place, find_places
from scheduler.postgres.insertion import insert
from scheduler.records import Accepted

_TURN_SECONDS = 2.0

# Keys go in in order, so that two submissions of the same ids wait for each other instead of deadlocking; the second
# sees the first's rows. A key older than 24 h is free again.
_INSERT_KEYS = """
INSERT INTO idempotency_keys AS k (client_id, request_id, spec_hash, job_id, create_time)
SELECT $1, n.request_id, n.spec_hash, n.job_id, now()
FROM unnest($2::text[], $3::bytea[], $4::uuid[]) AS n (request_id, spec_hash, job_id)
ORDER BY n.request_id
ON CONFLICT (client_id, request_id) DO UPDATE
SET spec_hash = excluded.spec_hash, job_id = excluded.job_id, create_time = excluded.create_time
WHERE k.create_time < now() - interval '24 hours'
RETURNING request_id
"""

_FIND_KEYS = """
SELECT request_id, spec_hash, job_id FROM idempotency_keys WHERE client_id = $1 AND request_id = ANY ($2)
"""

_KNOWN_KEYS = """
SELECT request_id FROM idempotency_keys
WHERE client_id = $1 AND request_id = ANY ($2) AND create_time >= now() - interval '24 hours'
"""

# Two numbers, of which the first is nobody else's. Taken before any other lock, so who waits for it holds nothing.
_LOCK_DEPTH = "SELECT pg_advisory_xact_lock(811, hashtext($1))"
_COUNT_QUEUED = "SELECT count(*) FROM (SELECT FROM queue WHERE limited_client = $1 LIMIT $2) q"

# See policies.submission_rate. Who is refused is so by a look that locks nothing, but for one that another call was
# faster than: it may come back when that one is worked off. A crash may forget the last half second, and no disk waits.
_PACE = """
WITH known AS MATERIALIZED (
    SELECT next_time - now() - $3::interval AS wait FROM submission_pace WHERE client_id = $1
), taken AS (
    INSERT INTO submission_pace AS p (client_id, next_time)
    SELECT $1, now() + $2::interval WHERE NOT EXISTS (SELECT FROM known WHERE wait > interval '0')
    ON CONFLICT (client_id) DO UPDATE SET next_time = greatest(p.next_time, now()) + $2::interval
    WHERE p.next_time - now() <= $3::interval
    RETURNING 1
)
SELECT CASE WHEN NOT EXISTS (SELECT FROM taken)
    THEN coalesce((SELECT wait FROM known WHERE wait > interval '0'), $2::interval) END AS wait,
    set_config('synchronous_commit', 'off', true)
"""


_PAST_FIRST_STEP = "SELECT job_id FROM step_outputs WHERE job_id = ANY ($1::uuid[])"


class Submissions(Queries):
    """Implements SubmissionStore."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        # Lanes that are known to have a row; lanes are never deleted.
        self._lanes: set[str] = set()
        # Of the clients that submit just now: whoever waits for a lock, or has it, keeps it alive.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def insert_jobs(
        self, client_id: str, jobs: Sequence[NewJob], *, max_queued: int | None = None
    ) -> Sequence[Accepted]:
        async with self._turn(client_id, max_queued), self._database.connection() as connection:
            await self._know_lanes(connection, {lane for job in jobs for lane in job.spec.lanes})
            if max_queued is None and not any(job.request_id or job.dedup_key or job.step > 1 for job in jobs):
                await insert(connection, client_id, jobs, {})
                return [Accepted(job_id=job.job_id) for job in jobs]
            async with connection.transaction():
                if max_queued is not None:
                    await connection.execute(_LOCK_DEPTH, client_id)
                owners = await _own_request_ids(connection, client_id, jobs)
                new = [job for job in jobs if owners.get(job.request_id, job.job_id) == job.job_id]
                places = await find_places(connection, client_id, new)
                if max_queued is not None:
                    await _check_depth(connection, client_id, new, places, max_queued)
                if new:
                    await insert(connection, client_id, new, places, is_limited=max_queued is not None)
        return [_accepted(job, owners.get(job.request_id, job.job_id), places.get(job.job_id, ALONE)) for job in jobs]

    async def known_requests(self, client_id: str, request_ids: Collection[str]) -> Collection[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_KNOWN_KEYS, client_id, list(request_ids))
        return {row["request_id"] for row in rows}

    async def past_first_step(self, job_ids: Collection[str]) -> Collection[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAST_FIRST_STEP, list(job_ids))
        return {str(row["job_id"]) for row in rows}

    async def pace(self, client_id: str, count: int, *, per_second: float) -> datetime.timedelta | None:
        cost = submission_rate.cost(count, per_second=per_second)
        async with self._database.connection() as connection:
            wait: datetime.timedelta | None = await connection.fetchval(_PACE, client_id, cost, submission_rate.BURST)
        return wait

    async def raise_leader(self, job_id: str, rank: int) -> None:
        async with self._database.connection() as connection:
            await connection.execute("SELECT raise_jobs(ARRAY[$1::uuid], ARRAY[$2::smallint])", job_id, rank)

    @contextlib.asynccontextmanager
    async def _turn(self, client_id: str, max_queued: int | None) -> AsyncIterator[None]:
        """Let the submissions of a client whose depth is counted go one by one.

        The database makes them wait for each other anyway; here they hold no connection meanwhile, and so leave the
        others to other clients.
        """
        if max_queued is None:
            yield
            return
        turn = self._turns.setdefault(client_id, asyncio.Lock())
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turn.acquire()
        except TimeoutError:
            raise StoreUnavailable("Too many submissions of the client are under way.") from None
        try:
            yield
        finally:
            turn.release()

    async def _know_lanes(self, connection: asyncpg.Connection, lanes: set[str]) -> None:
        unknown = sorted(lanes - self._lanes)
        if unknown:
            await connection.execute(
                "INSERT INTO lanes (lane) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", unknown
            )
            self._lanes |= lanes


def _accepted(job: NewJob, owner: str, place: Place) -> Accepted:
    if owner != job.job_id:
        return Accepted(job_id=owner, is_known=True)
    return Accepted(job_id=job.job_id, is_cached=place.result is not None, leader=place.leader)


async def _check_depth(
    connection: asyncpg.Connection,
    client_id: str,
    new: Sequence[NewJob],
    places: Mapping[str, Place],
    max_queued: int,
) -> None:
    """Raise QueueFull unless there is room for those new jobs that no recent result answers."""
    entering = sum(1 for job in new if places.get(job.job_id, ALONE).result is None)
    if not entering:
        return
    queued: int = await connection.fetchval(_COUNT_QUEUED, client_id, max_queued)
    if queued + entering > max_queued:
        raise QueueFull(max_queued, queued)


async def _own_request_ids(connection: asyncpg.Connection, client_id: str, jobs: Sequence[NewJob]) -> Mapping[str, str]:
    """Return the job that owns each request_id: one of these, or an older one."""
    if not any(job.request_id for job in jobs):
        return {}
    first: dict[str, NewJob] = {}
    for job in jobs:
        if job.request_id:
            owner = first.setdefault(job.request_id, job)
            if owner.spec_hash != job.spec_hash:
                raise RequestIdReused(job.request_id, None)
    taken = await connection.fetch(
        _INSERT_KEYS,
        client_id,
        list(first),
        [job.spec_hash for job in first.values()],
        [job.job_id for job in first.values()],
    )
    owners = {row["request_id"]: first[row["request_id"]].job_id for row in taken}
    known = [request_id for request_id in first if request_id not in owners]
    for row in await connection.fetch(_FIND_KEYS, client_id, known) if known else ():
        if row["spec_hash"] != first[row["request_id"]].spec_hash:
            raise RequestIdReused(row["request_id"], str(row["job_id"]))
        owners[row["request_id"]] = str(row["job_id"])
    return owners
