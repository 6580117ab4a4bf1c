"""Writes what became of attempts. See ports.OutcomeStore."""

import datetime
from collections.abc import Collection, Mapping, Sequence

from scheduler.jobs import JobState, Stage, Usage
from scheduler.ports import AttemptId, AttemptRecord, FinalRecord, ReturnRecord, RunningJob
from scheduler.postgres.database import Queries

# Rows are locked in the order of seq, as everywhere, so that two batches cannot deadlock. A success needs no more
# than a job that is not final; anything else needs its attempt to be the running one.
_FINISH = """
WITH o AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
        $8::text[], $9::float8[], $10::text[], $11::text[], $12::boolean[], $13::text[], $14::smallint[], $15::text[])
        AS o (job_id, attempt, outcome, finish_time, error_kind, error_message, error_retryable, usage, cost_usd,
            model_version, stage_seconds, paid, raw_answer, state, output_json)
), locked AS MATERIALIZED (
    SELECT q.job_id FROM queue q JOIN o ON q.job_id = o.job_id
    WHERE (q.attempt = o.attempt AND q.state = 3) OR (o.state = 4 AND o.attempt BETWEEN 1 AND q.attempt)
    ORDER BY q.seq FOR UPDATE OF q
), gone AS (
    DELETE FROM queue q USING locked WHERE q.job_id = locked.job_id
    RETURNING q.job_id, q.step, q.retry_count, q.executor_id, q.start_time, q.attempt_time
), ended AS (
    INSERT INTO results (job_id, state, step, attempt, retry_count, executor_id, start_time, finish_time, output_json,
        error_kind, error_message, error_retryable)
    SELECT o.job_id, o.state, g.step, o.attempt, g.retry_count, g.executor_id, g.start_time, o.finish_time,
        o.output_json, o.error_kind, o.error_message, o.error_retryable
    FROM gone g JOIN o ON o.job_id = g.job_id
), attempted AS (
    INSERT INTO attempts AS a (job_id, attempt, step, executor_id, start_time, finish_time, outcome, error_kind,
        error_message, error_retryable, usage, cost_usd, model_version, stage_seconds, paid, raw_answer)
    SELECT o.job_id, o.attempt, g.step, g.executor_id, coalesce(g.attempt_time, o.finish_time), o.finish_time,
        o.outcome, o.error_kind, o.error_message, o.error_retryable, o.usage::bigint[], o.cost_usd, o.model_version,
        o.stage_seconds::float8[], o.paid, o.raw_answer
    FROM gone g JOIN o ON o.job_id = g.job_id
    ON CONFLICT (job_id, attempt) DO UPDATE
    SET finish_time = excluded.finish_time, outcome = excluded.outcome, error_kind = excluded.error_kind,
        error_message = excluded.error_message, error_retryable = excluded.error_retryable, usage = excluded.usage,
        cost_usd = excluded.cost_usd, model_version = excluded.model_version,
        stage_seconds = excluded.stage_seconds, paid = excluded.paid, raw_answer = excluded.raw_answer
)
SELECT o.job_id, o.attempt FROM gone g JOIN o ON o.job_id = g.job_id
"""

_GIVE_BACK = """
WITH o AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
        $8::text[], $9::float8[], $10::text[], $11::text[], $12::boolean[], $13::text[])
        AS o (job_id, attempt, outcome, finish_time, error_kind, error_message, error_retryable, usage, cost_usd,
            model_version, stage_seconds, paid, raw_answer)
), back AS MATERIALIZED (
    SELECT * FROM give_back($1::uuid[], $2::int[], $14::boolean[], $12::boolean[], $15::timestamptz[])
), attempted AS (
    INSERT INTO attempts (job_id, attempt, step, executor_id, start_time, finish_time, outcome, error_kind,
        error_message, error_retryable, usage, cost_usd, model_version, stage_seconds, paid, raw_answer)
    SELECT o.job_id, o.attempt, b.step, b.executor_id, b.attempt_time, o.finish_time, o.outcome, o.error_kind,
        o.error_message, o.error_retryable, o.usage::bigint[], o.cost_usd, o.model_version,
        o.stage_seconds::float8[], o.paid, o.raw_answer
    FROM back b JOIN o ON o.job_id = b.job_id
)
SELECT job_id, attempt FROM back
"""

_FIND_RUNNING = """
SELECT q.job_id, q.attempt, q.lane, q.retry_count, q.max_retries
FROM queue q JOIN unnest($1::uuid[], $2::int[]) AS w (job_id, attempt) ON q.job_id = w.job_id AND q.attempt = w.attempt
WHERE q.state = 3
"""

_NOTE_STAGES = """
UPDATE queue q SET stage = n.stage, stage_time = n.stage_time
FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::timestamptz[]) AS n (job_id, attempt, stage, stage_time)
WHERE q.job_id = n.job_id AND q.attempt = n.attempt AND q.state = 3
"""


class Outcomes(Queries):
    """Implements OutcomeStore."""

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_FIND_RUNNING, *_ids(attempts))
        return {
            AttemptId(str(row["job_id"]), row["attempt"]): RunningJob(
                row["lane"], row["retry_count"], row["max_retries"]
            )
            for row in rows
        }

    async def finish(self, finals: Sequence[FinalRecord]) -> Collection[AttemptId]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _FINISH,
                *_columns([final.record for final in finals]),
                [final.state for final in finals],
                [final.output_json if final.state is JobState.SUCCEEDED else None for final in finals],
            )
        return {AttemptId(str(row[0]), row[1]) for row in rows}

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _GIVE_BACK,
                *_columns([back.record for back in returns]),
                [back.charged for back in returns],
                [back.due_time for back in returns],
            )
        return {AttemptId(str(row[0]), row[1]) for row in rows}

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(
                _NOTE_STAGES,
                *_ids(stages),
                [stage for stage, _ in stages.values()],
                [time for _, time in stages.values()],
            )


def _ids(attempts: Collection[AttemptId]) -> tuple[list[str], list[int]]:
    return [attempt.job_id for attempt in attempts], [attempt.attempt for attempt in attempts]


def _columns(records: Sequence[AttemptRecord]) -> tuple[list[object], ...]:
    """Return the records as the first 13 parameters of the statements above."""
    errors = [record.error for record in records]
    return (
        [record.attempt_id.job_id for record in records],
        [record.attempt_id.attempt for record in records],
        [record.outcome for record in records],
        [record.finish_time for record in records],
        [error.kind if error else None for error in errors],
        [error.message if error else None for error in errors],
        [error.retryable if error else None for error in errors],
        [_usage_literal(record.usage) if record.usage else None for record in records],
        [record.cost_usd for record in records],
        [record.model_version for record in records],
        [_stages_literal(record.stage_seconds) for record in records],
        [record.paid for record in records],
        [record.raw_answer or None for record in records],
    )


def _usage_literal(usage: Usage) -> str:
    """Return an array literal: unnest flattens arrays of arrays, but not texts."""
    return (
        f"{{{usage.input_tokens},{usage.output_tokens},{usage.thinking_tokens},"
        f"{usage.cached_tokens},{usage.image_tokens}}}"
    )


def _stages_literal(seconds: Mapping[Stage, float]) -> str:
    return "{" + ",".join(str(seconds.get(stage, 0.0)) for stage in Stage) + "}"
