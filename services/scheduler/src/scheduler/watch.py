"""Follows jobs: the present state at once, then changes, until all are final.

What this scheduler does itself wakes a watcher at once. What another one does is seen by a look into the store, at
most `poll_seconds` later. A slow watcher gets the newest state, not every one, and never an older one.
"""

import asyncio
import dataclasses
import datetime
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from typing import Protocol

from scheduler.errors import Stopping, StoreUnavailable
from scheduler.jobs import Job, JobState, Stage
from scheduler.records import AttemptId


class JobLookup(Protocol):
    """Reads jobs as callers see them."""

    async def find(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]: ...


class _Watcher:
    """What one stream has not seen yet. Written by the hub, emptied by the stream."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.stages: dict[AttemptId, tuple[Stage, datetime.datetime]] = {}
        self.wake = asyncio.Event()


class WatchHub:
    """Tells the watchers of this process what happens here."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[_Watcher]] = defaultdict(set)
        self._closed = False

    def job_changed(self, job_id: str) -> None:
        """The job's state is another one in the store now."""
        for watcher in self._watchers.get(job_id, ()):
            watcher.changed.add(job_id)
            watcher.wake.set()

    def stage_entered(self, attempt: AttemptId, stage: Stage, time: datetime.datetime) -> None:
        """A running attempt is at another stage."""
        for watcher in self._watchers.get(attempt.job_id, ()):
            watcher.stages[attempt] = (stage, time)
            watcher.wake.set()

    def close(self) -> None:
        """End every watch: this scheduler goes away, and watchers ask another one."""
        self._closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake.set()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def is_watched(self, job_id: str) -> bool:
        return job_id in self._watchers

    def add(self, watcher: _Watcher, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            self._watchers[job_id].add(watcher)

    def remove(self, watcher: _Watcher, job_ids: Collection[str]) -> None:
        for job_id in job_ids:
            watchers = self._watchers.get(job_id)
            if watchers is not None:
                watchers.discard(watcher)
                if not watchers:
                    del self._watchers[job_id]


class Watch:
    """The use case."""

    def __init__(self, *, hub: WatchHub, lookup: JobLookup, poll_seconds: float = 0.5) -> None:
        self._hub = hub
        self._lookup = lookup
        self._poll_seconds = poll_seconds

    async def jobs(self, client_id: str, job_ids: Collection[str]) -> AsyncIterator[Job]:
        """Yield the jobs as they are, then each change; ends when all are final.

        Raises:
            StoreUnavailable: The present state cannot be read; later outages only delay.
            Stopping: This scheduler is going away.
        """
        watcher = _Watcher()
        self._hub.add(watcher, job_ids)
        try:
            seen = await self._lookup.find(client_id, job_ids)
            for job in list(seen.values()):
                yield job
            while open_ids := [job_id for job_id, job in seen.items() if not job.state.is_final]:
                for job in await self._changes(client_id, watcher, seen, open_ids):
                    seen[job.job_id] = job
                    yield job
        finally:
            self._hub.remove(watcher, job_ids)

    async def _changes(
        self, client_id: str, watcher: _Watcher, seen: dict[str, Job], open_ids: Collection[str]
    ) -> list[Job]:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await watcher.wake.wait()
            polled: Collection[str] = ()
        except TimeoutError:
            polled = open_ids
        if self._hub.is_closed:
            raise Stopping("This scheduler is stopping; ask again.")
        watcher.wake.clear()
        stages, watcher.stages = watcher.stages, {}
        started = {
            attempt.job_id
            for attempt in stages
            if attempt.job_id in seen
            and (seen[attempt.job_id].attempt, seen[attempt.job_id].state) != (attempt.attempt, JobState.RUNNING)
        }
        changed, watcher.changed = watcher.changed, set()
        to_read = [job_id for job_id in {*changed, *started, *polled} if job_id in open_ids]
        fresh = await self._read(client_id, to_read) if to_read else {}
        newer = {**{job_id: seen[job_id] for job_id in open_ids}, **fresh}
        for attempt, (stage, time) in stages.items():
            job = newer.get(attempt.job_id)
            if job and job.state is JobState.RUNNING and job.attempt == attempt.attempt and (job.stage or 0) < stage:
                newer[job.job_id] = dataclasses.replace(job, stage=stage, stage_start_time=time)
        return [job for job_id, job in newer.items() if job.progress > seen[job_id].progress]

    async def _read(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]:
        try:
            return await self._lookup.find(client_id, job_ids)
        except StoreUnavailable:
            return {}
