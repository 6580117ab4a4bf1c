"""Stops jobs on their client's wish, whether they wait or run."""

from collections.abc import AsyncIterator, Callable, Collection

from scheduler.errors import InvalidRequest, JobIsFinal, Violation
from scheduler.jobs import Job, JobState
from scheduler.ports import OutcomeStore
from scheduler.read import Read
from scheduler.records import Ended, JobQuery
from scheduler.stops import Stops
from scheduler.watch import WatchHub

_OPEN_STATES = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING})


class Cancel:
    """The use case."""

    def __init__(
        self, *, store: OutcomeStore, read: Read, stops: Stops, hub: WatchHub, wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._read = read
        self._stops = stops
        self._hub = hub
        self._wake = wake

    async def job(self, client_id: str, job_id: str) -> Job:
        """Stop a job; one that was stopped before is returned as it is. Raises InvalidRequest, JobNotFound, JobIsFinal."""
        job = await self._read.job(client_id, job_id, attempts=True)
        if not job.state.is_final:
            await self._cancel(client_id, [job.job_id])
            job = await self._read.job(client_id, job_id, attempts=True)
        if job.state is not JobState.CANCELLED:
            raise JobIsFinal(job.job_id, job.state)
        return job

    async def jobs(self, client_id: str, query: JobQuery, *, dry_run: bool) -> int:
        """Stop the jobs of a filter, and return how many; with dry_run only count them. Raises InvalidRequest."""
        states = (query.states or _OPEN_STATES) & _OPEN_STATES
        count = 0
        if not states:
            return count
        async for ids in pages_of_ids(self._read, client_id, query, states):
            count += len(ids) if dry_run else await self._cancel(client_id, ids)
        return count

    async def _cancel(self, client_id: str, job_ids: Collection[str]) -> int:
        ended: Ended = await self._store.cancel(client_id, job_ids)
        await self._stops.stop(ended.to_stop)
        for job_id in ended.changed:
            self._hub.job_changed(job_id)
        # A follower may stand in the place of its leader.
        self._wake()
        return len({*ended.changed} & {*job_ids})


async def pages_of_ids(
    read: Read, client_id: str, query: JobQuery, states: frozenset[JobState]
) -> AsyncIterator[Collection[str]]:
    """Yield the ids of the jobs of a bulk filter, which must have a condition. Raises InvalidRequest."""
    if not (query.user_id or query.states or query.labels or query.lane or query.from_time or query.to_time):
        raise InvalidRequest([Violation("filter", "needs at least one condition")])
    async for ids in read.ids(client_id, query, states):
        yield ids
