"""Stores new jobs: in the queue, or at their end where a recent result answers them."""

import json
import math
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from scheduler import spec_json
from scheduler.errors import ImagesMissing
from scheduler.jobs import NewJob, model_of
from scheduler.postgres.dedup import ALONE, Place

# The seq is drawn in the order of the call. No lane is locked: see the floors in claim_jobs. What a recent result
# answers never enters the queue. The images are kept last: until the jobs are there for all to see.
_INSERT_JOBS = """
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::jsonb[], $7::json[], $8::text[],
        $9::smallint[], $10::smallint[], $11::timestamptz[], $12::timestamptz[], $13::bytea[], $14::uuid[], $15::uuid[],
        $16::uuid[], $17::int[], $20::text[], $21::smallint[]) WITH ORDINALITY
        AS n (job_id, user_id, create_time, traceparent, labels, spec, lane, rank, max_retries, due_time, expire_time,
            dedup_key, retried_from, leader, result, timeout_seconds, next_lane, step, place)
), stored AS (
    INSERT INTO jobs (job_id, client_id, user_id, create_time, traceparent, labels, spec, retried_from)
    SELECT job_id, $2, user_id, create_time, traceparent, labels, spec, retried_from FROM new
), answered AS (
    INSERT INTO results (job_id, state, step, attempt, retry_count, cached_from, finish_time)
    SELECT n.job_id, r.state, r.step, 0, 0, coalesce(r.cached_from, r.job_id), n.create_time
    FROM new n JOIN results r ON r.job_id = n.result
), queued AS (
    INSERT INTO queue (job_id, lane, state, rank, seq, step, due_time, expire_time, queued_time, attempt, retry_count,
        max_retries, paid_calls, preparing_deaths, leader, dedup_key, rank_time, timeout_seconds, limited_client,
        next_lane)
    SELECT job_id, lane, CASE WHEN due_time IS NULL THEN 2 ELSE 1 END, rank, nextval('queue_seq'), step, due_time,
        expire_time, create_time, 0, 0, max_retries, 0, 0, leader, dedup_key, create_time, timeout_seconds,
        CASE WHEN $19 THEN $2 END, next_lane
    FROM (SELECT * FROM new WHERE result IS NULL ORDER BY place) ordered
)
SELECT keep_images($2, $18::bytea[])
"""
_IMAGES_GONE = "VJ001"

# Of jobs that begin at their second step: those get one whose predecessor still has what its first step gave.
_CARRY_OUTPUTS = """
INSERT INTO step_outputs (job_id, output_json)
SELECT n.job_id, s.output_json
FROM unnest($1::uuid[], $2::uuid[]) AS n (job_id, retried_from) JOIN step_outputs s ON s.job_id = n.retried_from
WHERE s.job_id = ANY ($2::uuid[])
RETURNING job_id
"""

# Those that a recent result answered; the last statement of its transaction. The model is that of the result's step.
_COUNT_ANSWERED = """
SELECT add_usage(count_ends(
    array_agg(r.job_id), array_agg(CASE WHEN r.step > 1 THEN u.last_model ELSE u.first_model END)))
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (job_id, first_model, last_model)
    JOIN results r ON r.job_id = u.job_id
WHERE r.job_id = ANY ($1::uuid[])
"""


async def insert(
    connection: asyncpg.Connection,
    client_id: str,
    jobs: Sequence[NewJob],
    places: Mapping[str, Place],
    *,
    is_limited: bool = False,
) -> None:
    """Store new jobs where they stand, in the transaction of the connection if there is one.

    Raises:
        ImagesMissing: An image that one of them uses is not stored.
    """
    answered = [job for job in jobs if places.get(job.job_id, ALONE).result is not None]
    late_starters = [job for job in jobs if job.step > 1 and places.get(job.job_id, ALONE).result is None]
    carried = await _carry_outputs(connection, late_starters)
    try:
        await _execute_insert(connection, client_id, jobs, places, carried, is_limited=is_limited)
    except asyncpg.PostgresError as error:
        if error.sqlstate != _IMAGES_GONE:
            raise
        raise ImagesMissing(error.detail.split(",")) from None
    if answered:
        await connection.execute(
            _COUNT_ANSWERED,
            [job.job_id for job in answered],
            [model_of(job.spec.lanes[0]) for job in answered],
            [model_of(job.spec.lanes[-1]) for job in answered],
        )


async def _carry_outputs(connection: asyncpg.Connection, jobs: Sequence[NewJob]) -> Collection[str]:
    """Give jobs what the first step of their predecessor gave; return those for which it was still there."""
    if not jobs:
        return ()
    rows = await connection.fetch(_CARRY_OUTPUTS, [job.job_id for job in jobs], [job.retried_from for job in jobs])
    return {str(row["job_id"]) for row in rows}


async def _execute_insert(
    connection: asyncpg.Connection,
    client_id: str,
    jobs: Sequence[NewJob],
    places: Mapping[str, Place],
    carried: Collection[str],
    *,
    is_limited: bool,
) -> None:
    steps = [2 if job.job_id in carried else 1 for job in jobs]
    await connection.execute(
        _INSERT_JOBS,
        [job.job_id for job in jobs],
        client_id,
        [job.spec.user_id for job in jobs],
        [job.create_time for job in jobs],
        [job.traceparent for job in jobs],
        [json.dumps(dict(job.spec.labels)) for job in jobs],
        [spec_json.encode(job.spec) for job in jobs],
        [job.spec.lanes[step - 1] for job, step in zip(jobs, steps, strict=True)],
        [job.spec.priority for job in jobs],
        [job.spec.max_retries for job in jobs],
        [job.due_time for job in jobs],
        [job.spec.expire_time for job in jobs],
        [job.dedup_key for job in jobs],
        [job.retried_from for job in jobs],
        [places.get(job.job_id, ALONE).leader for job in jobs],
        [places.get(job.job_id, ALONE).result for job in jobs],
        [math.ceil(job.spec.timeout.total_seconds()) for job in jobs],
        [bytes.fromhex(sha256) for sha256 in _needed_images(jobs, steps)],
        is_limited,
        [next(iter(job.spec.lanes[step:]), None) for job, step in zip(jobs, steps, strict=True)],
        steps,
    )


def _needed_images(jobs: Sequence[NewJob], steps: Sequence[int]) -> set[str]:
    """Return the images that have to be there: the second step needs none, and executors fetch those with a uri."""
    return {
        image.sha256
        for job, step in zip(jobs, steps, strict=True)
        if step == 1
        for image in job.spec.images
        if image.sha256
    }
