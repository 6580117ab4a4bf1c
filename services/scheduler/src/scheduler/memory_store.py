"""The store in dictionaries: what the store's ports promise, as short as it can be said.

For tests of use cases, and for simulations. It has no floors, partitions, batches or connections; the conformance suite
holds it and Postgres to the same results. Every method runs without giving up control, which makes it atomic.
"""

import datetime
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scheduler.errors import RequestIdReused
from scheduler.jobs import ImageRef, Job, JobState, NewImage, NewJob, Stage
from scheduler.memory_row import JobRow, new_row
from scheduler.ports import (
    AttemptId,
    ClaimedJob,
    ExecutorInfo,
    FinalRecord,
    Head,
    JobQuery,
    Registration,
    ReturnRecord,
    RunningJob,
    Slots,
    StoreClock,
)

_REQUEST_ID_LIFETIME = datetime.timedelta(hours=24)


@dataclass
class _Executor:
    """Sessions up to `lost_session` are lost."""

    info: ExecutorInfo
    session: int
    last_seen: datetime.datetime
    lost_session: int = 0

    @property
    def is_lost(self) -> bool:
        return self.lost_session == self.session


class MemoryStore:
    """Implements ports.Store."""

    def __init__(self, *, clock: StoreClock) -> None:
        self.time = clock
        self._rows: dict[str, JobRow] = {}
        self._images: dict[tuple[str, str], NewImage] = {}
        self._request_ids: dict[tuple[str, str], NewJob] = {}
        self._executors: dict[str, _Executor] = {}
        self._seqs = itertools.count(1)

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        return {sha256: image.ref for sha256, image in self._images_of(client_id, sha256s)}

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        for image in images:
            self._images.setdefault((client_id, image.ref.sha256), image)

    async def insert_jobs(self, client_id: str, jobs: Sequence[NewJob]) -> Sequence[str]:
        owners: dict[str, NewJob] = {}
        for job in jobs:
            if job.request_id:
                owner = owners.setdefault(job.request_id, self._known(client_id, job.request_id) or job)
                if owner.spec_hash != job.spec_hash:
                    raise RequestIdReused(job.request_id, owner.job_id if owner.job_id in self._rows else None)
        ids = [owners.get(job.request_id, job).job_id for job in jobs]
        for job, job_id in zip(jobs, ids, strict=True):
            if job.job_id == job_id and job_id not in self._rows:
                self._insert(client_id, job)
        return ids

    def _known(self, client_id: str, request_id: str) -> NewJob | None:
        known = self._request_ids.get((client_id, request_id))
        if known is None or known.create_time < self.time.now() - _REQUEST_ID_LIFETIME:
            return None
        return known

    def _insert(self, client_id: str, job: NewJob) -> None:
        self._rows[job.job_id] = new_row(client_id, job, next(self._seqs))
        if job.request_id:
            self._request_ids[client_id, job.request_id] = job

    async def lane_heads(self, *, thorough: bool) -> Sequence[Head]:
        del thorough  # Nothing is ever overlooked here.
        heads: dict[str, Head] = {}
        for row in self._in_state(JobState.QUEUED):
            heads.setdefault(row.job.spec.lane, Head(row.job.spec.lane, *row.order))
        return list(heads.values())

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        del thorough
        now = self.time.now()
        waiting = [
            row
            for row in self._in_state(JobState.QUEUED)
            if row.job.spec.lane == lane and row.job.spec.priority <= max_rank
        ]
        return [row.start(slot, now) for row, slot in zip(waiting, _dealt(slots), strict=False)]

    async def promote_due(self) -> datetime.datetime | None:
        now = self.time.now()
        later = []
        for row in self._in_state(JobState.SCHEDULED):
            due = row.job.next_attempt_time
            if due is not None and due > now:
                later.append(due)
            else:
                row.fall_due(now)
        return min(later, default=None)

    async def count_waiting(self, limit: int) -> int:
        return min(limit, len(self._in_state(JobState.QUEUED)))

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        return {sha256: image.data for sha256, image in self._images_of(client_id, sha256s)}

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        return {attempt: row.running for attempt in attempts if (row := self._row(attempt)) and row.runs(attempt)}

    async def finish(self, finals: Sequence[FinalRecord]) -> Collection[AttemptId]:
        return {
            final.record.attempt_id
            for final in finals
            if (row := self._row(final.record.attempt_id)) and row.finish(final)
        }

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        now = self.time.now()
        return {
            back.record.attempt_id
            for back in returns
            if (row := self._row(back.record.attempt_id)) and row.give_back(back, now)
        }

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        for attempt, (stage, time) in stages.items():
            if (row := self._row(attempt)) and row.runs(attempt):
                row.note_stage(stage, time)

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        known = self._executors.get(executor.executor_id)
        session = known.session + 1 if known else 1
        self._executors[executor.executor_id] = _Executor(
            info=executor,
            session=session,
            last_seen=self.time.now(),
            lost_session=known.lost_session if known else 0,
        )
        mine = [row for row in self._in_state(JobState.RUNNING) if row.job.executor_id == executor.executor_id]
        kept = [row for row in mine if row.attempt_id in held]
        for row in kept:
            row.session = session
        return Registration(
            session=session,
            held={row.attempt_id: row.running for row in kept},
            orphaned={row.attempt_id for row in mine if row.attempt_id not in held},
        )

    async def touch(self, executor_id: str, session: int) -> bool:
        executor = self._executors.get(executor_id)
        if executor is None or executor.session != session or executor.is_lost:
            return False
        executor.last_seen = self.time.now()
        return True

    async def declare_lost(self, silent_for: datetime.timedelta) -> Collection[AttemptId]:
        for executor in self._executors.values():
            if executor.last_seen <= self.time.now() - silent_for:
                executor.lost_session = executor.session
        # What a hello did not take along into the current session is nobody's either.
        over = {
            executor_id: max(executor.lost_session, executor.session - 1)
            for executor_id, executor in self._executors.items()
        }
        return {
            row.attempt_id
            for row in self._in_state(JobState.RUNNING)
            if row.session <= over.get(row.job.executor_id, 0)
        }

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        return {
            lane
            for executor in self._executors.values()
            if executor.last_seen > self.time.now() - seen_within and not executor.is_lost
            for lane in executor.info.lanes
        }

    async def runs_with_image(self, job_id: str, sha256: str) -> str | None:
        row = self._rows.get(job_id)
        if row is None or row.job.state is not JobState.RUNNING:
            return None
        uses = any(image.sha256 == sha256 for image in row.job.spec.images)
        return row.job.client_id if uses else None

    async def get_jobs(self, client_id: str, job_ids: Collection[str], *, attempts: bool) -> Mapping[str, Job]:
        return {
            job_id: row.seen(attempts=attempts)
            for job_id in job_ids
            if (row := self._rows.get(job_id)) and row.job.client_id == client_id
        }

    async def list_jobs(
        self, client_id: str, query: JobQuery, *, before: str | None, limit: int, attempts: bool
    ) -> Sequence[Job]:
        newest_first = sorted(self._rows, reverse=True)
        matching = (
            row
            for job_id in newest_first
            if (row := self._rows[job_id]).job.client_id == client_id
            and (before is None or job_id < before)
            and _matches(row.job, query)
        )
        return [row.seen(attempts=attempts) for row in itertools.islice(matching, limit)]

    def _images_of(self, client_id: str, sha256s: Collection[str]) -> Iterator[tuple[str, NewImage]]:
        for sha256 in sha256s:
            image = self._images.get((client_id, sha256))
            if image is not None:
                yield sha256, image

    def _in_state(self, state: JobState) -> list[JobRow]:
        """Return the jobs in a state, best (rank, seq) first."""
        return sorted((row for row in self._rows.values() if row.job.state is state), key=lambda row: row.order)

    def _row(self, attempt: AttemptId) -> JobRow | None:
        return self._rows.get(attempt.job_id)


def _dealt(slots: Sequence[Slots]) -> Iterator[Slots]:
    """Yield the slots one by one: the first of every executor, then the second of every one that has it."""
    for dealt in range(max((slot.count for slot in slots), default=0)):
        yield from (slot for slot in slots if slot.count > dealt)


def _matches(job: Job, query: JobQuery) -> bool:
    return (
        query.user_id in ("", job.spec.user_id)
        and (not query.states or job.state in query.states)
        and query.labels.items() <= job.spec.labels.items()
    )
