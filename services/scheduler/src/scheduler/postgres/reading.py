"""Reads jobs: the hot row while there is one, else the result. See ports.JobReader."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from scheduler import spec_json
from scheduler.jobs import Attempt, AttemptOutcome, Job, JobError, JobState, Result, Stage, Usage
from scheduler.postgres.database import Queries
from scheduler.records import JobQuery

# One statement sees a job either in the queue or in the results, never in neither.
_COLUMNS = """
SELECT j.job_id, j.client_id, j.spec, j.traceparent, j.create_time, q.state AS queue_state, r.state AS result_state,
    coalesce(q.step, r.step) AS step, coalesce(q.attempt, r.attempt) AS attempt,
    coalesce(q.retry_count, r.retry_count) AS retry_count, q.stage, q.stage_time,
    coalesce(q.start_time, r.start_time) AS start_time, r.finish_time, q.due_time,
    coalesce(q.executor_id, r.executor_id) AS executor_id, r.error_kind, r.error_message, r.error_retryable,
    coalesce(r.output_json, (SELECT o.output_json FROM results o WHERE o.job_id = r.cached_from)) AS output_json,
    r.cached_from, j.purge_time, a.usage,
    coalesce(a.model_version, (SELECT o.model_version FROM results o WHERE o.job_id = r.cached_from)) AS model_version,
    a.stage_seconds, q.leader, j.retried_from,
    (SELECT sum(cost_usd) FROM attempts s WHERE s.job_id = j.job_id) AS cost_usd
FROM jobs j
LEFT JOIN queue q ON q.job_id = j.job_id
LEFT JOIN results r ON r.job_id = j.job_id
-- By a limit, because a join on an expression becomes a scan of the whole history.
LEFT JOIN LATERAL (
    SELECT s.model_version, s.usage, s.stage_seconds FROM attempts s
    WHERE s.job_id = coalesce(r.cached_from, r.job_id) AND s.attempt = CASE
        WHEN r.cached_from IS NULL THEN r.attempt
        ELSE (SELECT o.attempt FROM results o WHERE o.job_id = r.cached_from) END
    LIMIT 1
) a ON true
"""

_GET = _COLUMNS + "WHERE j.client_id = $1 AND j.job_id = ANY ($2::uuid[])"

_FILTER = """
WHERE j.client_id = $1 AND ($2 = '' OR j.user_id = $2) AND ($3::uuid IS NULL OR j.job_id < $3)
  AND (cardinality($4::smallint[]) = 0 OR coalesce(r.state, q.state) = ANY ($4)) AND j.labels @> $5::jsonb
  AND ($6 = '' OR $6 = coalesce(q.lane, CASE WHEN r.step > 1 THEN 'deepseek/' || (j.spec #>> '{post_process,model}') END,
      'gemini/' || (j.spec ->> 'model')))
  AND ($7::timestamptz IS NULL OR j.create_time >= $7) AND ($8::timestamptz IS NULL OR j.create_time < $8)
ORDER BY j.job_id DESC LIMIT $9
"""

_IDS = """
SELECT j.job_id FROM jobs j LEFT JOIN queue q ON q.job_id = j.job_id LEFT JOIN results r ON r.job_id = j.job_id
"""


_ATTEMPTS = "SELECT * FROM attempts WHERE job_id = ANY ($1::uuid[]) ORDER BY job_id, attempt"


class Reading(Queries):
    """Implements JobReader."""

    async def get_jobs(self, client_id: str, job_ids: Collection[str], *, attempts: bool) -> Mapping[str, Job]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_GET, client_id, list(job_ids))
            jobs = await _jobs(connection, rows, attempts=attempts)
        return {job.job_id: job for job in jobs}

    async def list_jobs(
        self, client_id: str, query: JobQuery, *, before: str | None, limit: int, attempts: bool
    ) -> Sequence[Job]:
        async with self._database.planning_anew() as connection:
            rows = await connection.fetch(_list(_COLUMNS, query), *_parameters(client_id, query, before, limit))
            return await _jobs(connection, rows, attempts=attempts)

    async def list_ids(self, client_id: str, query: JobQuery, *, before: str | None, limit: int) -> Sequence[str]:
        async with self._database.planning_anew() as connection:
            rows = await connection.fetch(_list(_IDS, query), *_parameters(client_id, query, before, limit))
        return [str(row["job_id"]) for row in rows]


def _list(selection: str, query: JobQuery) -> str:
    statement = selection + _FILTER
    if query.user_id:
        # The history index gives their order; without a user the primary keys do.
        statement = statement.replace("($2 = '' OR j.user_id = $2)", "j.user_id = $2")
    if query.states and not any(state.is_final for state in query.states):
        # Those that are not final are few, and stand in the queue.
        statement = statement.replace("LEFT JOIN queue q", "JOIN queue q").replace(
            "coalesce(r.state, q.state)", "q.state"
        )
    return statement


def _parameters(client_id: str, query: JobQuery, before: str | None, limit: int) -> tuple[object, ...]:
    """Return the parameters of _FILTER."""
    return (
        client_id,
        query.user_id,
        before,
        list(query.states),
        json.dumps(dict(query.labels)),
        query.lane,
        query.from_time,
        query.to_time,
        limit,
    )


async def _jobs(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], *, attempts: bool) -> Sequence[Job]:
    ended: Mapping[str, tuple[Attempt, ...]] = {}
    if attempts and rows:
        ended = _attempts(await connection.fetch(_ATTEMPTS, [row["job_id"] for row in rows]))
    return [_job(row, ended.get(str(row["job_id"]), ())) for row in rows]


def _job(row: asyncpg.Record, attempts: tuple[Attempt, ...]) -> Job:
    state = JobState(row["result_state"] or row["queue_state"])
    return Job(
        job_id=str(row["job_id"]),
        client_id=row["client_id"],
        spec=spec_json.decode(row["spec"]),
        traceparent=row["traceparent"],
        state=state,
        create_time=row["create_time"],
        step=row["step"],
        attempt=row["attempt"],
        retry_count=row["retry_count"],
        stage=Stage(row["stage"]) if row["stage"] and state is JobState.RUNNING else None,
        stage_start_time=row["stage_time"] if state is JobState.RUNNING else None,
        start_time=row["start_time"],
        finish_time=row["finish_time"],
        next_attempt_time=row["due_time"] if state is JobState.SCHEDULED else None,
        executor_id=row["executor_id"] or "",
        leader=str(row["leader"]) if row["leader"] else None,
        retried_from=str(row["retried_from"]) if row["retried_from"] else None,
        result=_result(row) if state is JobState.SUCCEEDED else None,
        error=_error(row) if state is JobState.FAILED else None,
        attempts=attempts,
        cost_usd=row["cost_usd"] or 0.0,
        purged=row["purge_time"] is not None,
    )


def _result(row: asyncpg.Record) -> Result:
    cached = row["cached_from"] is not None
    return Result(
        output_json=row["output_json"] or "",
        model_version=row["model_version"] or "",
        usage=Usage() if cached else _usage(row) or Usage(),
        cost_usd=row["cost_usd"] or 0.0,
        cached=cached,
        stage_seconds={} if cached else _stage_seconds(row),
    )


def _attempts(rows: Iterable[asyncpg.Record]) -> Mapping[str, tuple[Attempt, ...]]:
    by_job: defaultdict[str, tuple[Attempt, ...]] = defaultdict(tuple)
    for row in rows:
        by_job[str(row["job_id"])] += (
            Attempt(
                attempt=row["attempt"],
                step=row["step"],
                executor_id=row["executor_id"] or "",
                start_time=row["start_time"],
                finish_time=row["finish_time"],
                outcome=AttemptOutcome(row["outcome"]),
                error=_error(row) if row["error_kind"] else None,
                usage=_usage(row),
                cost_usd=row["cost_usd"],
                model_version=row["model_version"],
                stage_seconds=_stage_seconds(row),
                model=row["model"],
                paid=row["paid"],
                unanswered=row["unanswered"],
                flaw=row["flaw"] or "",
                output_path=row["output_path"] or "",
                raw_answer=row["raw_answer"] or "",
                service_tier=row["service_tier"],
            ),
        )
    return by_job


def _error(row: asyncpg.Record) -> JobError:
    return JobError(kind=row["error_kind"], message=row["error_message"] or "", retryable=bool(row["error_retryable"]))


def _usage(row: asyncpg.Record) -> Usage | None:
    if row["usage"] is None:
        return None
    tokens_in, tokens_out, thinking, cached, image = row["usage"]
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        thinking_tokens=thinking,
        cached_tokens=cached,
        image_tokens=image,
    )


def _stage_seconds(row: asyncpg.Record) -> Mapping[Stage, float]:
    return {stage: seconds for stage, seconds in zip(Stage, row["stage_seconds"] or (), strict=False) if seconds}
