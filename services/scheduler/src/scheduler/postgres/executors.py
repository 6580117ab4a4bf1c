"""Knows which executors live. See ports.ExecutorStore.

One row an executor carries its last sign of life, never a job's row: a heartbeat touches one row, however many jobs
run.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from scheduler.callers import ANONYMOUS
from scheduler.errors import ExecutorNotYours, StaleHello
from scheduler.postgres.database import Queries
from scheduler.postgres.running import COLUMNS, running_jobs
from scheduler.records import AttemptId, ExecutorInfo, Registration, RunningJob

_REGISTER = """
INSERT INTO executors AS e (executor_id, host, version, capacity, lanes, dial, client_id, session, connect_time,
    last_seen)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1, now(), now())
ON CONFLICT (executor_id) DO UPDATE
SET host = excluded.host, version = excluded.version, capacity = excluded.capacity, lanes = excluded.lanes, dial = excluded.dial,
    client_id = excluded.client_id, session = e.session + 1, connect_time = now(), last_seen = now()
WHERE e.dial <= excluded.dial AND (e.client_id IN ($8, excluded.client_id) OR e.lost_session >= e.session)
RETURNING session
"""

_OWNER = "SELECT CASE WHEN lost_session < session THEN client_id ELSE $2 END FROM executors WHERE executor_id = $1"

# After lock_held. One whose loss (5) put it back into the queue is taken back while it only waits there: nobody else has
# begun it, and its loss is forgotten. Not where a late success has brought the job to its next step meanwhile.
_KEEP_HELD = (
    """
WITH held AS MATERIALIZED (
    SELECT q.job_id, q.attempt, q.step, q.executor_id, q.state, q.leader
    FROM unnest($1::uuid[], $2::int[]) AS h (job_id, attempt) JOIN queue q
      ON q.job_id = h.job_id AND q.attempt = h.attempt
), kept AS MATERIALIZED (
    SELECT h.job_id, h.attempt FROM held h
    WHERE h.executor_id = $3 AND (h.state = 3 OR (h.state = 2 AND h.leader IS NULL AND EXISTS (
        SELECT 1 FROM attempts a
        WHERE a.job_id = h.job_id AND a.attempt = h.attempt AND a.step = h.step AND a.outcome = 5)))
), forgotten AS (
    DELETE FROM attempts a USING kept WHERE a.job_id = kept.job_id AND a.attempt = kept.attempt
    RETURNING a.job_id, a.paid, a.model, a.finish_time, a.cost_usd, a.unanswered
)
UPDATE queue q
SET session = $4, stage = coalesce(q.stage, 1), stage_time = coalesce(q.stage_time, q.attempt_time), state = 3,
    -- One that is taken back was not lost after all.
    paid_calls = q.paid_calls - coalesce(forgotten.paid::int, 0),
    preparing_deaths = q.preparing_deaths - CASE WHEN NOT forgotten.paid AND q.preparing_deaths > 0 THEN 1 ELSE 0 END
FROM kept LEFT JOIN forgotten USING (job_id) WHERE q.job_id = kept.job_id
RETURNING forgotten.model, forgotten.finish_time, forgotten.cost_usd, forgotten.unanswered, """  # noqa: S608 - our own columns
    + COLUMNS
)

# What was counted of losses that were none; the last statement of its transaction.
_UNCOUNT_LOSSES = """
SELECT add_usage(ARRAY(
    SELECT ROW(l.job_id, (l.finish_time AT TIME ZONE 'UTC')::date, l.model, 0, NULL, -l.cost_usd, -l.cost_usd,
        -l.unanswered::int)::usage_entry
    FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::float8[], $5::boolean[])
        AS l (job_id, finish_time, model, cost_usd, unanswered)))
"""

_ORPHANED = "SELECT " + COLUMNS + " FROM queue q WHERE q.state = 3 AND q.executor_id = $1 AND q.session < $2"  # noqa: S608 - our own columns

_RUNNING_ON = "SELECT " + COLUMNS + " FROM queue q WHERE q.state = 3 AND q.executor_id = $1 AND q.session = $2"  # noqa: S608 - our own columns

# From stage 4 on the call is under way.
_OVERDUE = (
    "SELECT "
    + COLUMNS
    + """
FROM queue q
WHERE q.state = 3 AND q.stage >= 4 AND q.stage_time < now() - $1::interval - make_interval(secs => q.timeout_seconds)
"""
)

_DECLARE_LOST = """
UPDATE executors SET lost_session = session
WHERE last_seen <= now() - $1::interval AND lost_session < session
"""

# Also of sessions declared lost earlier: a claim may have been under way meanwhile, or the rescuer died half-way.
# And of sessions before the current one: a hello takes along all that is held, what a late claim left is nobody's.
_RUNNING_ON_LOST = (
    "SELECT "
    + COLUMNS
    + """
FROM queue q JOIN executors e ON e.executor_id = q.executor_id
WHERE q.state = 3 AND (q.session <= e.lost_session OR q.session < e.session)
"""
)

_RUNS_WITH_IMAGE = """
SELECT j.client_id
FROM queue q JOIN jobs j ON j.job_id = q.job_id JOIN executors e ON e.executor_id = q.executor_id
WHERE q.job_id = $1 AND q.state = 3 AND e.client_id = $3
    AND EXISTS (SELECT 1 FROM json_array_elements(j.spec -> 'images') i WHERE i ->> 'sha256' = $2)
"""


class Executors(Queries):
    """Implements ExecutorStore."""

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        async with self._database.reserved() as connection, connection.transaction():
            session: int | None = await connection.fetchval(
                _REGISTER,
                executor.executor_id,
                executor.host,
                executor.version,
                executor.capacity,
                list(executor.lanes),
                executor.dial,
                executor.client_id,
                # Of the time before there were keys.
                ANONYMOUS,
            )
            if session is None:
                owner = await connection.fetchval(_OWNER, executor.executor_id, executor.client_id)
                if owner not in (ANONYMOUS, executor.client_id):
                    raise ExecutorNotYours(executor.executor_id)
                raise StaleHello(executor.executor_id)
            job_ids = [attempt.job_id for attempt in held]
            await connection.execute("SELECT lock_held($1::uuid[])", job_ids)
            kept = await connection.fetch(
                _KEEP_HELD, job_ids, [attempt.attempt for attempt in held], executor.executor_id, session
            )
            orphaned = await connection.fetch(_ORPHANED, executor.executor_id, session)
            await _uncount_losses(connection, [row for row in kept if row["model"]])
        return Registration(
            session=session,
            held=running_jobs(kept),
            orphaned=running_jobs(orphaned),
        )

    async def touch(self, executor_id: str, session: int) -> bool:
        async with self._database.reserved() as connection:
            status = await connection.execute(
                "UPDATE executors SET last_seen = now()"
                " WHERE executor_id = $1 AND session = $2 AND lost_session < session",
                executor_id,
                session,
            )
        return bool(status == "UPDATE 1")

    async def declare_lost(self, silent_for: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        async with self._database.reserved() as connection:
            await connection.execute(_DECLARE_LOST, silent_for)
            rows = await connection.fetch(_RUNNING_ON_LOST)
        return running_jobs(rows)

    async def overdue(self, margin: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        async with self._database.reserved() as connection:
            return running_jobs(await connection.fetch(_OVERDUE, margin))

    async def running_on(self, executor_id: str, session: int) -> Mapping[AttemptId, RunningJob]:
        async with self._database.reserved() as connection:
            return running_jobs(await connection.fetch(_RUNNING_ON, executor_id, session))

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT unnest(lanes) AS lane FROM executors"
                " WHERE last_seen > now() - $1::interval AND lost_session < session",
                seen_within,
            )
        return {row["lane"] for row in rows}

    async def runs_with_image(self, job_id: str, sha256: str, *, executor_client: str) -> str | None:
        async with self._database.connection() as connection:
            client_id: str | None = await connection.fetchval(_RUNS_WITH_IMAGE, job_id, sha256, executor_client)
        return client_id


async def _uncount_losses(connection: asyncpg.Connection, losses: Sequence[asyncpg.Record]) -> None:
    if losses:
        await connection.execute(
            _UNCOUNT_LOSSES,
            *([row[name] for row in losses] for name in ("job_id", "finish_time", "model", "cost_usd", "unanswered")),
        )
