"""Running attempts as they are read from the queue."""

from collections.abc import Iterable, Mapping

import asyncpg

from scheduler.jobs import Stage
from scheduler.records import AttemptId, RunningJob

COLUMNS = """q.job_id, q.attempt, q.lane, q.executor_id, q.session, q.stage, q.retry_count, q.max_retries, q.paid_calls,
    q.preparing_deaths, q.expire_time, q.step, q.flaws"""


def running_jobs(rows: Iterable[asyncpg.Record]) -> Mapping[AttemptId, RunningJob]:
    """Return what rows with these columns say."""
    return {
        AttemptId(str(row["job_id"]), row["attempt"]): RunningJob(
            lane=row["lane"],
            executor_id=row["executor_id"],
            session=row["session"],
            stage=Stage(row["stage"]),
            retry_count=row["retry_count"],
            max_retries=row["max_retries"],
            paid_calls=row["paid_calls"],
            preparing_deaths=row["preparing_deaths"],
            expire_time=row["expire_time"],
            step=row["step"],
            flaws=tuple(row["flaws"]),
        )
        for row in rows
    }
