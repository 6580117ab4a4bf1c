"""How the store in memory hands waiting jobs out. See ports.ClaimStore."""

import datetime
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from scheduler.jobs import JobState
from scheduler.memory_dedup import Dedup
from scheduler.memory_lanes import MemoryLanes
from scheduler.memory_row import JobRow
from scheduler.records import ClaimedJob, Slots


class MemoryClaims(MemoryLanes):
    """The part of the store that hands jobs out."""

    _dedup: Dedup

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        del thorough
        found = self._lanes.get(lane)
        if found is None:
            return []
        now = self._time.now()
        waiting = [row for row in self._claimable() if row.job.lane == lane and row.rank <= max_rank]
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
        changed = [row.job.job_id for row in expired] + self._dedup.end_all(expired, now)
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

    async def step_outputs(self, job_ids: Collection[str]) -> Mapping[str, str]:
        return {
            job_id: row.step_output
            for job_id in job_ids
            if (row := self._rows.get(job_id)) and row.step_output is not None
        }


def _dealt(slots: Sequence[Slots]) -> list[Slots]:
    """Return the slots one by one: the first of every executor, then the second of every one that has it."""
    turns = max((slot.count for slot in slots), default=0)
    return [slot for turn in range(turns) for slot in slots if slot.count > turn]
