"""The store in dictionaries: what the store's ports promise, as short as it can be said.

For tests of use cases, and for simulations. It has no floors, partitions, batches or connections; the conformance suite
holds it and Postgres to the same results. Every method runs without giving up control, which makes it atomic.
"""

import datetime
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies import submission_rate
from scheduler.callers import ANONYMOUS
from scheduler.errors import ExecutorNotYours, ImagesMissing, QueueFull, RequestIdReused, StaleHello
from scheduler.jobs import ImageRef, Job, JobState, NewImage, NewJob, Stage
from scheduler.memory_dedup import Dedup, Place
from scheduler.memory_keys import MemoryKeys
from scheduler.memory_lanes import MemoryLanes
from scheduler.memory_purge import MemoryPurge
from scheduler.memory_row import JobRow, new_row
from scheduler.ports import StoreClock
from scheduler.records import (
    Accepted,
    AttemptId,
    AttemptRecord,
    ClaimedJob,
    Ended,
    ExecutorInfo,
    FinalRecord,
    JobQuery,
    Registration,
    ReturnRecord,
    RunningAttempt,
    RunningJob,
    Slots,
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


class MemoryStore(MemoryLanes, MemoryKeys, MemoryPurge):
    """Implements ports.Store."""

    def __init__(self, *, clock: StoreClock, result_lifetime: datetime.timedelta = datetime.timedelta(hours=1)) -> None:
        MemoryLanes.__init__(self, clock=clock)
        MemoryKeys.__init__(self, clock=clock)
        self._dedup = Dedup(self._rows, result_lifetime=result_lifetime)
        MemoryPurge.__init__(self, self._rows, self._dedup)
        self._request_ids: dict[tuple[str, str], NewJob] = {}
        self._executors: dict[str, _Executor] = {}
        self._seqs = itertools.count(1)
        self._paces: dict[str, datetime.datetime] = {}
        # Jobs that were submitted under a limit of the queue's depth.
        self._limited: set[str] = set()

    @property
    def time(self) -> StoreClock:
        return self._time

    async def maintain(self) -> None:
        """Nothing wants doing here."""

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        return {sha256: image.ref for sha256, image in self._images_of(client_id, sha256s)}

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        for image in images:
            self._images.setdefault((client_id, image.ref.sha256), image)

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
        named = {image.sha256 for job in jobs for image in job.spec.images}
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
        self._lane(job.spec.lane)
        place = places[job.job_id]
        row = self._rows[job.job_id] = new_row(client_id, job, next(self._seqs), leader=place.leader)
        if job.request_id:
            self._request_ids[client_id, job.request_id] = job
        if place.result is not None:
            row.share(self._rows[place.result].job, now)
        return Accepted(job_id=job.job_id, is_cached=place.result is not None, leader=place.leader)

    async def raise_leader(self, job_id: str, rank: int) -> None:
        row = self._rows.get(job_id)
        if row is not None and not row.job.state.is_final:
            row.raise_to(rank, self._time.now())

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        del thorough
        found = self._lanes.get(lane)
        if found is None:
            return []
        now = self._time.now()
        waiting = [row for row in self._claimable() if row.job.spec.lane == lane and row.rank <= max_rank]
        claimed = [
            row.start(slot, now, permit_required=found.limits.need_permits)
            for row, slot in itertools.islice(self._deal(waiting, slots), self._takes(lane, now))
        ]
        if claimed and not found.breaker.is_closed:
            self._probe(lane, claimed[0].attempt_id)
        return claimed

    def _deal(self, waiting: Sequence[JobRow], slots: Sequence[Slots]) -> Iterator[tuple[JobRow, Slots]]:
        """Deal jobs over the slots in turns; suspects never share an executor."""
        free = _dealt(slots)
        with_suspect = {row.job.executor_id for row in self._in_state(JobState.RUNNING) if row.preparing_deaths}
        for row in waiting:
            slot = next(
                (each for each in free if not row.preparing_deaths or each.executor_id not in with_suspect), None
            )
            if slot is None:
                continue
            free.remove(slot)
            if row.preparing_deaths:
                with_suspect.add(slot.executor_id)
            yield row, slot

    async def promote_due(self) -> datetime.datetime | None:
        now = self._time.now()
        later = []
        for row in self._in_state(JobState.SCHEDULED):
            due = row.job.next_attempt_time
            if due is not None and due > now:
                later.append(due)
            else:
                row.fall_due(now)
        return min(later, default=None)

    async def expire_due(self) -> tuple[Collection[str], datetime.datetime | None]:
        now = self._time.now()
        expired = [row for row in self._rows.values() if row.has_expired(now)]
        for row in expired:
            row.expire(now)
        changed = [row.job.job_id for row in expired] + self._followers_of(expired, now)
        times = [
            row.job.spec.expire_time
            for row in self._rows.values()
            if row.job.state in (JobState.QUEUED, JobState.SCHEDULED) and row.job.spec.expire_time is not None
        ]
        return changed, min(times, default=None)

    async def raise_old(self, age: datetime.timedelta) -> int:
        now = self._time.now()
        old = [row for row in self._claimable() if row.rank > 1 and row.rank_time <= now - age]
        for row in old:
            row.raise_to(row.rank - 1, now)
        return len(old)

    async def count_waiting(self, limit: int) -> int:
        return min(limit, len(self._claimable()))

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        return {sha256: image.data for sha256, image in self._images_of(client_id, sha256s)}

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        return {attempt: row.running for attempt in attempts if (row := self._row(attempt)) and row.runs(attempt)}

    async def finish(self, finals: Sequence[FinalRecord]) -> Ended:
        now = self._time.now()
        ended: list[JobRow] = []
        to_stop: list[RunningAttempt] = []
        for final in finals:
            row = self._row(final.record.attempt_id)
            if row is None:
                continue
            before = _running_attempt(row)
            if row.finish(final):
                ended.append(row)
                if before is not None and before.attempt_id != final.record.attempt_id:
                    to_stop.append(before)
                if final.state is JobState.SUCCEEDED:
                    self._forget_failures(row.job.spec.lane)
        return Ended(
            attempts={row.attempt_id for row in ended},
            changed=[row.job.job_id for row in ended] + self._followers_of(ended, now),
            to_stop=to_stop,
        )

    async def cancel(self, client_id: str, job_ids: Collection[str]) -> Ended:
        now = self._time.now()
        rows = [
            row
            for job_id in job_ids
            if (row := self._rows.get(job_id)) and row.job.client_id == client_id and not row.job.state.is_final
        ]
        to_stop = [running for row in rows if (running := _running_attempt(row))]
        for row in rows:
            row.cancel(now)
        return Ended(changed=[row.job.job_id for row in rows] + self._followers_of(rows, now), to_stop=to_stop)

    def _followers_of(self, ended: Collection[JobRow], now: datetime.datetime) -> list[str]:
        return [job_id for row in ended for job_id in self._dedup.end(row, now)]

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        now = self._time.now()
        return {
            back.record.attempt_id
            for back in returns
            if (row := self._row(back.record.attempt_id)) and row.give_back(back, now)
        }

    async def note_late(self, records: Sequence[AttemptRecord]) -> None:
        for record in records:
            if row := self._row(record.attempt_id):
                row.note_late(record)

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        for attempt, (stage, time) in stages.items():
            if (row := self._row(attempt)) and row.runs(attempt):
                row.note_stage(stage, time)

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        known = self._executors.get(executor.executor_id)
        free = known is None or known.is_lost or known.info.client_id in (ANONYMOUS, executor.client_id)
        if not free:
            raise ExecutorNotYours(executor.executor_id)
        if known is not None and executor.dial < known.info.dial:
            raise StaleHello(executor.executor_id)
        session = known.session + 1 if known else 1
        self._executors[executor.executor_id] = _Executor(
            info=executor,
            session=session,
            last_seen=self._time.now(),
            lost_session=known.lost_session if known else 0,
        )
        for attempt in held:
            if (row := self._row(attempt)) and row.attempt_id == attempt:
                row.take_back(session, executor.executor_id)
        mine = [row for row in self._in_state(JobState.RUNNING) if row.job.executor_id == executor.executor_id]
        kept = [row for row in mine if row.attempt_id in held]
        orphaned = {row.attempt_id: row.running for row in mine if row.attempt_id not in held}
        for row in kept:
            row.session = session
        return Registration(session=session, held={row.attempt_id: row.running for row in kept}, orphaned=orphaned)

    async def touch(self, executor_id: str, session: int) -> bool:
        executor = self._executors.get(executor_id)
        if executor is None or executor.session != session or executor.is_lost:
            return False
        executor.last_seen = self._time.now()
        return True

    async def declare_lost(self, silent_for: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        for executor in self._executors.values():
            if executor.last_seen <= self._time.now() - silent_for:
                executor.lost_session = executor.session
        # What a hello did not take along into the current session is nobody's either.
        over = {
            executor_id: max(executor.lost_session, executor.session - 1)
            for executor_id, executor in self._executors.items()
        }
        return {
            row.attempt_id: row.running
            for row in self._in_state(JobState.RUNNING)
            if row.session <= over.get(row.job.executor_id, 0)
        }

    async def overdue(self, margin: datetime.timedelta) -> Mapping[AttemptId, RunningJob]:
        now = self._time.now()
        return {row.attempt_id: row.running for row in self._in_state(JobState.RUNNING) if row.is_overdue(margin, now)}

    async def running_on(self, executor_id: str, session: int) -> Mapping[AttemptId, RunningJob]:
        return {
            row.attempt_id: row.running
            for row in self._in_state(JobState.RUNNING)
            if (row.job.executor_id, row.session) == (executor_id, session)
        }

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        return {
            lane
            for executor in self._executors.values()
            if executor.last_seen > self._time.now() - seen_within and not executor.is_lost
            for lane in executor.info.lanes
        }

    async def runs_with_image(self, job_id: str, sha256: str, *, executor_client: str) -> str | None:
        row = self._rows.get(job_id)
        if row is None or row.job.state is not JobState.RUNNING:
            return None
        executor = self._executors.get(row.job.executor_id)
        if executor is None or executor.info.client_id != executor_client:
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

    def _images_of(self, client_id: str, sha256s: Collection[str]) -> Iterator[tuple[str, NewImage]]:
        for sha256 in sha256s:
            image = self._images.get((client_id, sha256))
            if image is not None:
                yield sha256, image

    def _row(self, attempt: AttemptId) -> JobRow | None:
        return self._rows.get(attempt.job_id)


def _running_attempt(row: JobRow) -> RunningAttempt | None:
    if row.job.state is not JobState.RUNNING:
        return None
    return RunningAttempt(row.attempt_id, row.job.executor_id, row.session)


def _dealt(slots: Sequence[Slots]) -> list[Slots]:
    """Return the slots one by one: the first of every executor, then the second of every one that has it."""
    turns = max((slot.count for slot in slots), default=0)
    return [slot for turn in range(turns) for slot in slots if slot.count > turn]


def _matches(job: Job, query: JobQuery) -> bool:
    return (
        query.user_id in ("", job.spec.user_id)
        and (not query.states or job.state in query.states)
        and query.labels.items() <= job.spec.labels.items()
        and query.lane in ("", job.spec.lane)
        and (query.from_time is None or job.create_time >= query.from_time)
        and (query.to_time is None or job.create_time < query.to_time)
    )
