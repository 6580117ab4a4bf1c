"""Reads jobs in the store in memory. See ports.JobReader."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from scheduler.jobs import Job
from scheduler.memory_lanes import MemoryLanes
from scheduler.memory_row import JobRow
from scheduler.records import JobQuery


class MemoryReading(MemoryLanes):
    """The part of the store that shows jobs."""

    async def get_jobs(self, client_id: str, job_ids: Collection[str], *, attempts: bool) -> Mapping[str, Job]:
        return {
            job_id: row.seen(attempts=attempts)
            for job_id in job_ids
            if (row := self._rows.get(job_id)) and row.job.client_id == client_id
        }

    async def list_jobs(
        self, client_id: str, query: JobQuery, *, before: str | None, limit: int, attempts: bool
    ) -> Sequence[Job]:
        matching = self._matching(client_id, query, before)
        return [row.seen(attempts=attempts) for row in itertools.islice(matching, limit)]

    async def list_ids(self, client_id: str, query: JobQuery, *, before: str | None, limit: int) -> Sequence[str]:
        return [row.job.job_id for row in itertools.islice(self._matching(client_id, query, before), limit)]

    def _matching(self, client_id: str, query: JobQuery, before: str | None) -> Iterator[JobRow]:
        """Yield the client's jobs, newest first."""
        for job_id in sorted(self._rows, reverse=True):
            row = self._rows[job_id]
            if row.job.client_id == client_id and (before is None or job_id < before) and _matches(row.job, query):
                yield row


def _matches(job: Job, query: JobQuery) -> bool:
    return (
        query.user_id in ("", job.spec.user_id)
        and (not query.states or job.state in query.states)
        and query.labels.items() <= job.spec.labels.items()
        and query.lane in ("", job.lane)
        and (query.from_time is None or job.create_time >= query.from_time)
        and (query.to_time is None or job.create_time < query.to_time)
    )
