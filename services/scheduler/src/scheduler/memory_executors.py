"""Which executors live, in the store in memory. See ports.ExecutorStore."""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scheduler.callers import ANONYMOUS
from scheduler.errors import ExecutorNotYours, StaleHello
from scheduler.jobs import JobState
from scheduler.memory_lanes import MemoryLanes
from scheduler.records import AttemptId, ExecutorInfo, Registration, RunningJob


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


class MemoryExecutors(MemoryLanes):
    """The part of the store that knows executors."""

    _executors: dict[str, _Executor]

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
            if (row := self._rows.get(attempt.job_id)) and row.attempt_id == attempt:
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
