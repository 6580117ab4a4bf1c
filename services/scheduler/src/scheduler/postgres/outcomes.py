"""Writes what became of attempts. See ports.OutcomeStore."""

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg

from scheduler import spec_json
from scheduler.jobs import JobError, JobSpec, JobState, Stage, Usage
from scheduler.postgres.database import Queries
from scheduler.postgres.purging import FIND_PURGED, LOCK_LATE_RECORDS
from scheduler.postgres.running import COLUMNS, running_jobs
from scheduler.records import (
    AdvanceRecord,
    AttemptId,
    AttemptRecord,
    Ended,
    FinalRecord,
    ReturnRecord,
    RunningAttempt,
    RunningJob,
)

# What is kept of attempts, as a value of each of the functions below.
_RECORDS = """attempt_records($1::uuid[], $2::int[], $3::smallint[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
    $8::text[], $9::float8[], $10::text[], $11::text[], $12::boolean[], $13::text[], $14::boolean[], $15::text[],
    $16::text[], $17::text[])"""

_FINISH = f"""
SELECT * FROM finish_jobs({_RECORDS}, $18::smallint[], $19::text[], $20::text[], $21::text[], $22::boolean[],
    $23::bigint[], $24::smallint[], $25::interval)
"""  # noqa: S608 - our own text

_ADVANCE = f"SELECT * FROM advance_jobs({_RECORDS}, $18::text[], $19::smallint[])"  # noqa: S608 - our own text

_GIVE_BACK = f"""
SELECT * FROM give_back({_RECORDS}, $18::boolean[], $19::timestamptz[], $20::boolean[], $21::bigint[])
"""  # noqa: S608 - our own text

_NOTE_LATE = f"SELECT note_late({_RECORDS})"

# 6 is CANCELLED.
_CANCEL = "SELECT * FROM end_waiting($1::uuid[], $2, 6::smallint)"

_SPECS = "SELECT job_id, client_id, spec FROM jobs WHERE job_id = ANY ($1::uuid[])"

_FIND_RUNNING = (
    "SELECT "
    + COLUMNS
    + """
FROM queue q JOIN unnest($1::uuid[], $2::int[]) AS w (job_id, attempt) ON q.job_id = w.job_id AND q.attempt = w.attempt
WHERE q.state = 3
"""
)

# Locked in the order of seq, as everywhere.
_NOTE_STAGES = """
WITH n AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::timestamptz[])
        AS n (job_id, attempt, stage, stage_time)
), locked AS MATERIALIZED (
    SELECT q.job_id FROM queue q JOIN n ON q.job_id = n.job_id AND q.attempt = n.attempt
    WHERE q.state = 3 ORDER BY q.seq FOR UPDATE OF q
)
UPDATE queue q SET stage = n.stage, stage_time = n.stage_time
FROM n JOIN locked USING (job_id) WHERE q.job_id = n.job_id
"""


class Outcomes(Queries):
    """Implements OutcomeStore."""

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_FIND_RUNNING, *_ids(attempts))
        return running_jobs(rows)

    async def finish(self, finals: Sequence[FinalRecord]) -> Ended:
        errors = [_job_error(final) for final in finals]
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _FINISH,
                *_columns([final.record for final in finals]),
                [final.state for final in finals],
                [final.output_json if final.state is JobState.SUCCEEDED else None for final in finals],
                [error.kind if error else None for error in errors],
                [error.message if error else None for error in errors],
                [error.retryable if error else None for error in errors],
                [final.session for final in finals],
                [final.step for final in finals],
                self._database.result_lifetime,
            )
        return _ended(rows)

    async def advance(self, advances: Sequence[AdvanceRecord]) -> Ended:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _ADVANCE,
                *_columns([advance.record for advance in advances]),
                [advance.output_json for advance in advances],
                [advance.step for advance in advances],
            )
        return _ended(rows)

    async def cancel(self, client_id: str, job_ids: Collection[str]) -> Ended:
        async with self._database.connection() as connection:
            return _ended(await connection.fetch(_CANCEL, list(job_ids), client_id))

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _GIVE_BACK,
                *_columns([back.record for back in returns]),
                [back.charged for back in returns],
                [back.due_time for back in returns],
                [back.died_preparing for back in returns],
                [back.session for back in returns],
            )
        return {AttemptId(str(row[0]), row[1]) for row in rows}

    async def note_late(self, records: Sequence[AttemptRecord]) -> None:
        ids = [record.attempt_id.job_id for record in records]
        async with self._database.reserved() as connection, connection.transaction():
            await connection.execute(LOCK_LATE_RECORDS)
            purged = {str(row["job_id"]) for row in await connection.fetch(FIND_PURGED, ids)}
            kept = [record.without_content() if record.attempt_id.job_id in purged else record for record in records]
            await connection.execute(_NOTE_LATE, *_columns(kept))

    async def specs_of(self, job_ids: Collection[str]) -> Mapping[str, tuple[str, JobSpec]]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_SPECS, list(job_ids))
        return {str(row["job_id"]): (row["client_id"], spec_json.decode(row["spec"])) for row in rows}

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(
                _NOTE_STAGES,
                *_ids(stages),
                [stage for stage, _ in stages.values()],
                [time for _, time in stages.values()],
            )


def _ended(rows: Iterable[asyncpg.Record]) -> Ended:
    """Return what finish_jobs, advance_jobs or end_waiting told, row by row."""
    attempts: list[AttemptId] = []
    changed: list[str] = []
    to_stop: list[RunningAttempt] = []
    for row in rows:
        job_id = str(row["job_id"])
        match row["what"]:
            case "ended":
                attempts.append(AttemptId(job_id, row["attempt"]))
                changed.append(job_id)
            case "changed":
                changed.append(job_id)
            case _:
                to_stop.append(RunningAttempt(AttemptId(job_id, row["attempt"]), row["executor_id"], row["session"]))
    return Ended(attempts=set(attempts), changed=changed, to_stop=to_stop)


def _job_error(final: FinalRecord) -> JobError | None:
    return (final.error or final.record.error) if final.state is JobState.FAILED else None


def _ids(attempts: Collection[AttemptId]) -> tuple[list[str], list[int]]:
    return [attempt.job_id for attempt in attempts], [attempt.attempt for attempt in attempts]


def _columns(records: Sequence[AttemptRecord]) -> tuple[list[object], ...]:
    """Return the records as the first 17 parameters of the statements above."""
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
        [record.unanswered for record in records],
        [record.flaw or None for record in records],
        [record.output_path or None for record in records],
        [record.service_tier for record in records],
    )


def _usage_literal(usage: Usage) -> str:
    """Return an array literal: unnest flattens arrays of arrays, but not texts."""
    return (
        f"{{{usage.input_tokens},{usage.output_tokens},{usage.thinking_tokens},"
        f"{usage.cached_tokens},{usage.image_tokens}}}"
    )


def _stages_literal(seconds: Mapping[Stage, float]) -> str:
    return "{" + ",".join(str(seconds.get(stage, 0.0)) for stage in Stage) + "}"
