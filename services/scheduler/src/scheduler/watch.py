"""Follows jobs: the present state at once, then changes, until all are final.

What this scheduler does itself wakes a watcher at once. What another one does is seen by a look into the store, at
most `poll_seconds` later. A slow watcher gets the newest state, not every one, and never an older one.

What a watch keeps of its jobs is without their content, and it reads a few of them at a time: their texts may be a
thousand times as large.
"""

import asyncio
import dataclasses
import datetime
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.errors import Stopping, StoreUnavailable
from scheduler.jobs import Job, JobState, Stage
from scheduler.records import AttemptId

_READ_AT_ONCE = 50


class JobLookup(Protocol):
    """Reads jobs as callers see them."""

    async def find(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]: ...


@dataclass(frozen=True, slots=True)
class _Entered:
    """The latest stage that a job's attempt entered."""

    attempt: int
    stage: Stage
    time: datetime.datetime


class _Watcher:
    """What one stream has not seen yet, by job. Written by the hub, emptied by the stream."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.stages: dict[str, _Entered] = {}
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
            watcher.stages[attempt.job_id] = _Entered(attempt.attempt, stage, time)
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

    async def jobs(self, client_id: str, job_ids: Collection[str], *, full: bool = True) -> AsyncIterator[Job]:
        """Yield the jobs as they are, then each change; ends when all are final.

        Unless `full`, prompt, system instruction and schema may be missing.

        Raises:
            StoreUnavailable: The present state cannot be read; later outages only delay.
            Stopping: This scheduler is going away.
        """
        watcher = _Watcher()
        self._hub.add(watcher, job_ids)
        seen: dict[str, Job] = {}
        try:
            for portion in _portions(list(job_ids)):
                for job in (await self._lookup.find(client_id, portion)).values():
                    seen[job.job_id] = _without_content(job)
                    yield job
            while open_ids := [job_id for job_id, job in seen.items() if not job.state.is_final]:
                news = await self._news(watcher, seen, open_ids, full=full)
                for portion in _portions(news.told):
                    fresh = await self._read(client_id, [job_id for job_id in portion if job_id in news.to_read])
                    for job_id in portion:
                        job = _at_stage(fresh.get(job_id, seen[job_id]), news.stages.get(job_id))
                        if job.progress > seen[job_id].progress:
                            seen[job_id] = _without_content(job)
                            yield job
        finally:
            self._hub.remove(watcher, job_ids)

    async def _news(
        self, watcher: _Watcher, seen: Mapping[str, Job], open_ids: Collection[str], *, full: bool
    ) -> "_News":
        """Wait until there is something to look at. Raises Stopping."""
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
        changed, watcher.changed = watcher.changed, set()
        started = {
            job_id
            for job_id, entered in stages.items()
            if job_id in seen
            and (full or (seen[job_id].attempt, seen[job_id].state) != (entered.attempt, JobState.RUNNING))
        }
        to_read = {*changed, *started, *polled}
        return _News(
            told=[job_id for job_id in open_ids if job_id in to_read or job_id in stages],
            to_read=to_read,
            stages=stages,
        )

    async def _read(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]:
        try:
            return await self._lookup.find(client_id, job_ids) if job_ids else {}
        except StoreUnavailable:
            return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """Jobs that may have changed, which of them must be read to know, and what stages others have entered."""

    told: Sequence[str]
    to_read: Collection[str]
    stages: Mapping[str, _Entered]


def _portions(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), _READ_AT_ONCE):
        yield job_ids[start : start + _READ_AT_ONCE]


def _at_stage(job: Job, entered: _Entered | None) -> Job:
    """Return the job at the stage that its attempt has entered, unless it is further."""
    if entered is None or job.state is not JobState.RUNNING or job.attempt != entered.attempt:
        return job
    if (job.stage or 0) >= entered.stage:
        return job
    return dataclasses.replace(job, stage=entered.stage, stage_start_time=entered.time)


def _without_content(job: Job) -> Job:
    post = job.spec.post_process
    if post is not None:
        # That there is one tells in which lane the job waits.
        post = dataclasses.replace(post, prompt="", schema_json="")
    spec = dataclasses.replace(job.spec, prompt="", system_instruction="", schema_json="", post_process=post)
    return dataclasses.replace(job, spec=spec, result=None, error=None)
