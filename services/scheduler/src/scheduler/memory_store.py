"""The store in dictionaries: what the store's ports promise, as short as it can be said.

For tests of use cases, and for simulations. It has no floors, partitions, batches or connections; the conformance suite
holds it and Postgres to the same results. Every method runs without giving up control, which makes it atomic.
"""

import dataclasses
import datetime
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.errors import RequestIdReused
from scheduler.jobs import (
    Attempt,
    AttemptOutcome,
    ImageRef,
    Job,
    JobState,
    NewImage,
    NewJob,
    Result,
    Stage,
    Usage,
)
from scheduler.ports import (
    AttemptId,
    AttemptRecord,
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
class _Entry:
    """A job, and what the queue knows of it."""

    job: Job
    seq: int
    queued_time: datetime.datetime
    session: int = 0
    attempt_time: datetime.datetime | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        return self.job.spec.priority, self.seq

    @property
    def attempt_id(self) -> AttemptId:
        return AttemptId(self.job.job_id, self.job.attempt)

    def change(self, **changes: object) -> None:
        self.job = dataclasses.replace(self.job, **changes)  # type: ignore[arg-type]


@dataclass
class _Executor:
    info: ExecutorInfo
    session: int
    last_seen: datetime.datetime
    lost_session: int = 0


class MemoryStore:
    """Implements ports.Store."""

    def __init__(self, *, clock: StoreClock) -> None:
        self.time = clock
        self._entries: dict[str, _Entry] = {}
        self._images: dict[tuple[str, str], NewImage] = {}
        self._request_ids: dict[tuple[str, str], NewJob] = {}
        self._executors: dict[str, _Executor] = {}
        self._seqs = itertools.count(1)

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        return {
            sha256: self._images[client_id, sha256].ref for sha256 in sha256s if (client_id, sha256) in self._images
        }

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        for image in images:
            self._images.setdefault((client_id, image.ref.sha256), image)

    async def insert_jobs(self, client_id: str, jobs: Sequence[NewJob]) -> Sequence[str]:
        owners: dict[str, NewJob] = {}
        for job in jobs:
            if job.request_id:
                owner = owners.setdefault(job.request_id, self._known(client_id, job) or job)
                if owner.spec_hash != job.spec_hash:
                    raise RequestIdReused(job.request_id, owner.job_id)
        for job in jobs:
            if owners.get(job.request_id, job) is job:
                self._insert(client_id, job)
        return [owners.get(job.request_id, job).job_id for job in jobs]

    def _known(self, client_id: str, job: NewJob) -> NewJob | None:
        known = self._request_ids.get((client_id, job.request_id))
        if known is None or known.create_time < self.time.now() - _REQUEST_ID_LIFETIME:
            return None
        return known

    def _insert(self, client_id: str, job: NewJob) -> None:
        if job.request_id:
            self._request_ids[client_id, job.request_id] = job
        self._entries[job.job_id] = _Entry(
            job=Job(
                job_id=job.job_id,
                client_id=client_id,
                spec=job.spec,
                traceparent=job.traceparent,
                state=JobState.QUEUED,
                create_time=job.create_time,
            ),
            seq=next(self._seqs),
            queued_time=job.create_time,
        )

    async def lane_heads(self, *, thorough: bool) -> Sequence[Head]:
        del thorough
        heads: dict[str, Head] = {}
        for entry in self._in_state(JobState.QUEUED):
            heads.setdefault(entry.job.spec.lane, Head(entry.job.spec.lane, *entry.order))
        return list(heads.values())

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        del thorough
        waiting = [
            entry
            for entry in self._in_state(JobState.QUEUED)
            if entry.job.spec.lane == lane and entry.job.spec.priority <= max_rank
        ]
        return [self._start(entry, slot) for entry, slot in zip(waiting, _dealt(slots), strict=False)]

    def _start(self, entry: _Entry, slot: Slots) -> ClaimedJob:
        now = self.time.now()
        entry.change(
            state=JobState.RUNNING,
            attempt=entry.job.attempt + 1,
            executor_id=slot.executor_id,
            stage=Stage.STARTING,
            stage_start_time=now,
            start_time=entry.job.start_time or now,
        )
        entry.session = slot.session
        entry.attempt_time = now
        return ClaimedJob(
            attempt_id=entry.attempt_id,
            executor_id=slot.executor_id,
            session=slot.session,
            client_id=entry.job.client_id,
            lane=entry.job.spec.lane,
            step=entry.job.step,
            spec=entry.job.spec,
            retry_count=entry.job.retry_count,
            traceparent=entry.job.traceparent,
            queued_time=entry.queued_time,
            start_time=now,
        )

    async def promote_due(self) -> datetime.datetime | None:
        now = self.time.now()
        later = []
        for entry in self._in_state(JobState.SCHEDULED):
            due = entry.job.next_attempt_time
            if due is not None and due > now:
                later.append(due)
            else:
                entry.change(state=JobState.QUEUED, next_attempt_time=None)
                entry.queued_time = now
        return min(later, default=None)

    async def count_waiting(self, limit: int) -> int:
        return len(list(itertools.islice(self._in_state(JobState.QUEUED), limit)))

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        return {
            sha256: self._images[client_id, sha256].data for sha256 in sha256s if (client_id, sha256) in self._images
        }

    async def find_running(self, attempts: Collection[AttemptId]) -> Mapping[AttemptId, RunningJob]:
        return {attempt: _running(entry) for attempt in attempts if (entry := self._running_entry(attempt))}

    async def finish(self, finals: Sequence[FinalRecord]) -> Collection[AttemptId]:
        return {final.record.attempt_id for final in finals if self._finish(final)}

    async def give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        return {back.record.attempt_id for back in returns if self._give_back(back)}

    async def note_stages(self, stages: Mapping[AttemptId, tuple[Stage, datetime.datetime]]) -> None:
        for attempt, (stage, time) in stages.items():
            if entry := self._running_entry(attempt):
                entry.change(stage=stage, stage_start_time=time)

    def _finish(self, final: FinalRecord) -> bool:
        record = final.record
        entry = self._entries.get(record.attempt_id.job_id)
        if entry is None or entry.job.state.is_final:
            return False
        late = final.state is JobState.SUCCEEDED and record.attempt_id.attempt <= entry.job.attempt
        if not late and self._running_entry(record.attempt_id) is None:
            return False
        self._record(entry, record)
        succeeded = final.state is JobState.SUCCEEDED
        entry.change(
            state=final.state,
            attempt=record.attempt_id.attempt,
            finish_time=record.finish_time,
            stage=None,
            stage_start_time=None,
            next_attempt_time=None,
            error=None if succeeded else record.error,
            result=self._result(entry, final) if succeeded else None,
        )
        return True

    def _give_back(self, back: ReturnRecord) -> bool:
        entry = self._running_entry(back.record.attempt_id)
        if entry is None:
            return False
        self._record(entry, back.record)
        entry.change(
            state=JobState.QUEUED if back.due_time is None else JobState.SCHEDULED,
            next_attempt_time=back.due_time,
            retry_count=entry.job.retry_count + back.charged,
            stage=None,
            stage_start_time=None,
        )
        entry.queued_time = self.time.now()
        return True

    def _record(self, entry: _Entry, record: AttemptRecord) -> None:
        known = entry.attempts.get(record.attempt_id.attempt)
        start_time = known.start_time if known else entry.attempt_time
        entry.attempts[record.attempt_id.attempt] = Attempt(
            attempt=record.attempt_id.attempt,
            step=entry.job.step,
            executor_id=known.executor_id if known else entry.job.executor_id,
            start_time=start_time or record.finish_time,
            finish_time=record.finish_time,
            outcome=AttemptOutcome(record.outcome),
            error=record.error,
            usage=record.usage,
            cost_usd=record.cost_usd,
            model_version=record.model_version,
            stage_seconds={stage: seconds for stage, seconds in record.stage_seconds.items() if seconds},
        )

    def _result(self, entry: _Entry, final: FinalRecord) -> Result:
        attempt = entry.attempts[final.record.attempt_id.attempt]
        return Result(
            output_json=final.output_json,
            model_version=attempt.model_version,
            usage=attempt.usage or Usage(),
            cost_usd=sum(each.cost_usd for each in entry.attempts.values()),
            cached=False,
            stage_seconds=attempt.stage_seconds,
        )

    async def register(self, executor: ExecutorInfo, held: Collection[AttemptId]) -> Registration:
        known = self._executors.get(executor.executor_id)
        session = known.session + 1 if known else 1
        self._executors[executor.executor_id] = _Executor(
            executor, session, self.time.now(), known.lost_session if known else 0
        )
        mine = [entry for entry in self._in_state(JobState.RUNNING) if entry.job.executor_id == executor.executor_id]
        kept = [entry for entry in mine if entry.attempt_id in held]
        for entry in kept:
            entry.session = session
        return Registration(
            session=session,
            held={entry.attempt_id: _running(entry) for entry in kept},
            orphaned={entry.attempt_id for entry in mine if entry not in kept},
        )

    async def touch(self, executor_id: str, session: int) -> bool:
        executor = self._executors.get(executor_id)
        if executor is None or executor.session != session or executor.lost_session >= session:
            return False
        executor.last_seen = self.time.now()
        return True

    async def declare_lost(self, silent_for: datetime.timedelta) -> Collection[AttemptId]:
        for executor in self._executors.values():
            if executor.last_seen <= self.time.now() - silent_for:
                executor.lost_session = executor.session
        return {
            entry.attempt_id
            for entry in self._in_state(JobState.RUNNING)
            if (executor_ := self._executors.get(entry.job.executor_id)) and entry.session <= executor_.lost_session
        }

    async def served_lanes(self, seen_within: datetime.timedelta) -> Collection[str]:
        return {
            lane
            for executor in self._executors.values()
            if executor.last_seen > self.time.now() - seen_within and executor.lost_session < executor.session
            for lane in executor.info.lanes
        }

    async def runs_with_image(self, job_id: str, sha256: str) -> str | None:
        entry = self._entries.get(job_id)
        if entry is None or entry.job.state is not JobState.RUNNING:
            return None
        uses = any(image.sha256 == sha256 for image in entry.job.spec.images)
        return entry.job.client_id if uses else None

    async def get_jobs(self, client_id: str, job_ids: Collection[str], *, attempts: bool) -> Mapping[str, Job]:
        return {
            job_id: _seen(entry, attempts=attempts)
            for job_id in job_ids
            if (entry := self._entries.get(job_id)) and entry.job.client_id == client_id
        }

    async def list_jobs(
        self, client_id: str, query: JobQuery, *, before: str | None, limit: int, attempts: bool
    ) -> Sequence[Job]:
        newest_first = sorted(self._entries.values(), key=lambda entry: entry.job.job_id, reverse=True)
        matching = (
            entry
            for entry in newest_first
            if entry.job.client_id == client_id
            and (before is None or entry.job.job_id < before)
            and query.user_id in ("", entry.job.spec.user_id)
            and (not query.states or entry.job.state in query.states)
            and query.labels.items() <= entry.job.spec.labels.items()
        )
        return [_seen(entry, attempts=attempts) for entry in itertools.islice(matching, limit)]

    def _in_state(self, state: JobState) -> Iterator[_Entry]:
        """Yield the jobs in a state, best (rank, seq) first."""
        found = [entry for entry in self._entries.values() if entry.job.state is state]
        yield from sorted(found, key=lambda entry: entry.order)

    def _running_entry(self, attempt: AttemptId) -> _Entry | None:
        """Return the job if the attempt is its running one: the fence of every write."""
        entry = self._entries.get(attempt.job_id)
        if entry is None or entry.job.state is not JobState.RUNNING or entry.job.attempt != attempt.attempt:
            return None
        return entry


def _dealt(slots: Sequence[Slots]) -> Iterator[Slots]:
    """Yield the slots one by one: the first of every executor, then the second of every one that has it."""
    for round_number in range(max((slot.count for slot in slots), default=0)):
        yield from (slot for slot in slots if slot.count > round_number)


def _running(entry: _Entry) -> RunningJob:
    return RunningJob(entry.job.spec.lane, entry.job.retry_count, entry.job.spec.max_retries)


def _seen(entry: _Entry, *, attempts: bool) -> Job:
    ended = tuple(entry.attempts[number] for number in sorted(entry.attempts)) if attempts else ()
    return dataclasses.replace(entry.job, attempts=ended)
