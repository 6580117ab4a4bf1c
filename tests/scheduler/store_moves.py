"""What the rules of the store machine are made of: a call to the store, the same to the record, and a comparison."""

import datetime
from collections.abc import Collection, Sequence
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine
from store_record import Record
from store_worlds import World
from stores import CLIENT, SECOND, back, lost, new_job

from scheduler.jobs import AttemptOutcome, Job, JobState, NewJob
from scheduler.ports import Store, StoreClock
from scheduler.records import AdvanceRecord, AttemptId, FinalRecord, RunningAttempt, Slots

TICK = datetime.timedelta(minutes=10)
RESULT_LIFETIME = 3.5 * TICK


class StoreMoves(RuleBasedStateMachine):
    """A store, and the record of what was done to it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.record = Record(RESULT_LIFETIME)
        self.ended: dict[str, Job] = {}
        self._turn = 0

    @property
    def store(self) -> Store:
        """Another scheduler's at each look."""
        self._turn += 1
        return self.world.stores[self._turn % len(self.world.stores)]

    @property
    def time(self) -> StoreClock:
        return self.world.stores[0].time

    def now(self) -> datetime.datetime:
        """Return the time of the record, which no passing of time makes older."""
        return self.time.now() + self.world.passed

    def _submit(self, jobs: list[dict[str, Any]]) -> list[NewJob]:
        first = len(self.record.jobs)
        new = [self._job(f"r{first + number}", **job) for number, job in enumerate(jobs)]
        expected = self.record.accept(new, self.world.passed, self.now())

        assert self.world.run(self.store.insert_jobs(CLIENT, new)) == expected

        return new

    def _job(
        self,
        request_id: str,
        *,
        schedule: float | None,
        expire: float | None,
        dedup_key: bytes | None,
        two_steps: bool,
        **spec: Any,
    ) -> NewJob:
        now = self.time.now()
        # Identical requests have the same steps.
        has_two = two_steps if dedup_key is None else dedup_key == b"b"
        return new_job(
            self.time,
            request_id=request_id,
            dedup_key=dedup_key,
            schedule_time=now + schedule * TICK if schedule else None,
            expire_time=now + expire * TICK if expire else None,
            post_process=SECOND if has_two else None,
            **spec,
        )

    def _claim(self, lane: str, slots: Sequence[Slots], max_rank: int) -> list[AttemptId]:
        claimed = self.world.run(self.store.claim(lane, slots, max_rank=max_rank, thorough=False))

        self.record.start(claimed, lane, slots, max_rank, self.now())
        return [job.attempt_id for job in claimed]

    def _finish(self, final: FinalRecord, *, taken: bool) -> None:
        attempt = final.record.attempt_id

        ended = self.world.run(self.store.finish([final]))

        assert set(ended.attempts) == ({attempt} if taken else set())
        changed: list[str] = []
        to_stop: list[RunningAttempt] = []
        if taken:
            error = (final.error or final.record.error) if final.state is JobState.FAILED else None
            output = final.output_json if final.state is JobState.SUCCEEDED else None
            changed, to_stop = self.record.finish(attempt, final.state, error, output, self.now())
        assert sorted(ended.changed) == sorted(changed)
        assert list(ended.to_stop) == to_stop

    def _advance(self, advance: AdvanceRecord, *, taken: bool) -> None:
        attempt = advance.record.attempt_id

        ended = self.world.run(self.store.advance([advance]))

        assert set(ended.attempts) == ({attempt} if taken else set())
        assert list(ended.changed) == ([attempt.job_id] if taken else [])
        assert list(ended.to_stop) == (self.record.advance(attempt) if taken else [])

    def _give_back(
        self, attempts: Collection[AttemptId], *, charged: bool = False, after_seconds: float | None = None
    ) -> None:
        returns = [
            back(attempt, self.time, charged=charged, after_seconds=after_seconds, cost_usd=0.0625)
            for attempt in attempts
        ]
        running = {attempt for attempt in attempts if self.record.runs(attempt)}

        assert set(self.world.run(self.store.give_back(returns))) == running

        for each in returns:
            if each.record.attempt_id in running:
                due = each.due_time + self.world.passed if each.due_time else None
                self.record.jobs[each.record.attempt_id.job_id].wait(due, AttemptOutcome.FAILED, charged=charged)

    def _lose(self, attempts: Collection[AttemptId], behind: int = 0) -> None:
        jobs = self.record.jobs
        returns = [
            lost(each, self.time, session=jobs[each.job_id].session - behind, unanswered=True) for each in attempts
        ]
        running = {attempt for attempt in attempts if self.record.runs(attempt) and not behind}

        assert set(self.world.run(self.store.give_back(returns))) == running

        for attempt in running:
            jobs[attempt.job_id].wait(None, AttemptOutcome.LOST)
