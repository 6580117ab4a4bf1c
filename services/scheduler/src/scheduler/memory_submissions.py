"""How the store in memory takes jobs in. See ports.SubmissionStore."""

import datetime
import itertools
from collections.abc import Collection, Mapping, Sequence

from policies import submission_rate
from scheduler.errors import ImagesMissing, QueueFull, RequestIdReused
from scheduler.jobs import NewImage, NewJob
from scheduler.memory_dedup import Dedup, Place
from scheduler.memory_lanes import MemoryLanes
from scheduler.memory_row import new_row
from scheduler.memory_usage import MemoryUsage
from scheduler.ports import StoreClock
from scheduler.records import Accepted

_REQUEST_ID_LIFETIME = datetime.timedelta(hours=24)


class MemorySubmissions(MemoryLanes):
    """The part of the store that takes jobs in."""

    _dedup: Dedup
    _usage: MemoryUsage
    _images: dict[tuple[str, str], NewImage]

    def __init__(self, *, clock: StoreClock) -> None:
        MemoryLanes.__init__(self, clock=clock)
        self._request_ids: dict[tuple[str, str], NewJob] = {}
        self._seqs = itertools.count(1)
        self._paces: dict[str, datetime.datetime] = {}
        # Jobs that were submitted under a limit of the queue's depth.
        self._limited: set[str] = set()

    async def insert_jobs(
        self, client_id: str, jobs: Sequence[NewJob], *, max_queued: int | None = None
    ) -> Sequence[Accepted]:
        owners: dict[str, NewJob] = {}
        for job in jobs:
            if job.request_id:
                owner = owners.setdefault(job.request_id, self._known(client_id, job.request_id) or job)
                if owner.spec_hash != job.spec_hash:
                    raise RequestIdReused(job.request_id, owner.job_id if owner.job_id in self._rows else None)
        new = [job for job in jobs if owners.get(job.request_id, job).job_id == job.job_id]
        self._check_images(client_id, new)
        places = self._dedup.places(new, self._time.now())
        if max_queued is not None:
            waiting = {job.job_id for job in new if places[job.job_id].result is None}
            try:
                self._check_room(client_id, len(waiting), max_queued)
            except QueueFull:
                self._dedup.take_back(waiting)
                raise
            self._limited |= waiting
        return [self._accept(client_id, job, owners.get(job.request_id, job), places) for job in jobs]

    def _check_images(self, client_id: str, jobs: Sequence[NewJob]) -> None:
        named = {
            image.sha256 for job in jobs if self._carried(job) is None for image in job.spec.images if image.sha256
        }
        missing = [sha256 for sha256 in sorted(named) if (client_id, sha256) not in self._images]
        if missing:
            raise ImagesMissing(missing)

    def _check_room(self, client_id: str, count: int, max_queued: int) -> None:
        limited = (self._rows[job_id].job for job_id in self._limited)
        queued = sum(1 for job in limited if job.client_id == client_id and not job.state.is_final)
        if count and queued + count > max_queued:
            raise QueueFull(max_queued, min(queued, max_queued))

    async def known_requests(self, client_id: str, request_ids: Collection[str]) -> Collection[str]:
        return {request_id for request_id in request_ids if self._known(client_id, request_id)}

    async def past_first_step(self, job_ids: Collection[str]) -> Collection[str]:
        return {job_id for job_id in job_ids if (row := self._rows.get(job_id)) and row.step_output is not None}

    async def pace(self, client_id: str, count: int, *, per_second: float) -> datetime.timedelta | None:
        now = self._time.now()
        worked_off = self._paces.get(client_id, now)
        wait = submission_rate.wait(worked_off, now=now)
        if wait > datetime.timedelta():
            return wait
        self._paces[client_id] = submission_rate.after(worked_off, count, per_second=per_second, now=now)
        return None

    def _known(self, client_id: str, request_id: str) -> NewJob | None:
        known = self._request_ids.get((client_id, request_id))
        if known is None or known.create_time < self._time.now() - _REQUEST_ID_LIFETIME:
            return None
        return known

    def _accept(self, client_id: str, job: NewJob, owner: NewJob, places: Mapping[str, Place]) -> Accepted:
        if owner.job_id != job.job_id:
            return Accepted(job_id=owner.job_id, is_known=True)
        now = self._time.now()
        for lane in job.spec.lanes:
            self._lane(lane)
        place = places[job.job_id]
        row = self._rows[job.job_id] = new_row(
            client_id,
            job,
            next(self._seqs),
            self._usage,
            leader=place.leader,
            step_output=self._carried(job) if place.result is None else None,
        )
        if job.request_id:
            self._request_ids[client_id, job.request_id] = job
        if place.result is not None:
            row.share(self._rows[place.result].job, now)
        return Accepted(job_id=job.job_id, is_cached=place.result is not None, leader=place.leader)

    def _carried(self, job: NewJob) -> str | None:
        """Return what the first step of its predecessor gave, if the job is to begin at the second."""
        former = self._rows.get(job.retried_from or "")
        return former.step_output if former is not None and job.step > 1 else None

    async def raise_leader(self, job_id: str, rank: int) -> None:
        row = self._rows.get(job_id)
        if row is not None and not row.job.state.is_final:
            row.raise_to(rank, self._time.now())
