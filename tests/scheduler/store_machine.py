"""Does to a store what clients, executors, rescuers and dispatchers do, late and repeated calls included.

Every rule does one thing to the store and to a record, and compares the answers. Time passes in ticks; whatever is
compared with the present lies half a tick beside them, so that the time a step takes never matters.
"""

import dataclasses
import datetime
from collections.abc import Collection
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, multiple, rule
from store_moves import TICK, StoreMoves
from stores import (
    CLIENT,
    LANE,
    SECOND_LANE,
    change,
    executor,
    failure,
    ids,
    new_job,
    passed,
    record,
    success,
)

from policies.quota import Limits
from scheduler.jobs import AttemptOutcome, CachePolicy, JobError, JobState, NewJob
from scheduler.records import AttemptId, RunningAttempt, Slots

HALF_TICK = TICK / 2
LONGEST_WAIT = 4 * TICK
EXECUTOR_IDS = ("e1", "e2")
_REQUEST_IDS_ARE_KEPT = datetime.timedelta(hours=24)

ERRORS = (
    JobError(kind="PROVIDER_ERROR", message="503", retryable=True),
    JobError(kind="TIMEOUT", message="Too slow.", retryable=True),
    JobError(kind="BAD_IMAGE", message="No image.", retryable=False),
)
JOBS = st.fixed_dictionaries(
    {
        "priority": st.integers(1, 3),
        "dedup_key": st.sampled_from([None, b"a", b"b", b"b"]),
        "cache": st.sampled_from([CachePolicy.USE, CachePolicy.USE, CachePolicy.REFRESH]),
        "two_steps": st.booleans(),
        "schedule": st.sampled_from([None, None, None, 1.5]),
        "expire": st.sampled_from([None, None, 0.5, 2.5]),
    }
)


class StoreMachine(StoreMoves):
    """The rules; what must hold after each is beside them, in the class that is run."""

    submissions: Bundle[NewJob] = Bundle("submissions")
    attempts: Bundle[AttemptId] = Bundle("attempts")

    @initialize(target=submissions, jobs=st.lists(JOBS, min_size=3, max_size=5))
    def begin(self, jobs: list[dict[str, Any]]) -> MultipleResults[NewJob]:
        for executor_id in EXECUTOR_IDS:
            self.dial(executor_id, held=[], returns=False)
        return multiple(*self._submit(jobs))

    @rule(target=submissions, jobs=st.lists(JOBS, min_size=1, max_size=3))
    def submit(self, jobs: list[dict[str, Any]]) -> MultipleResults[NewJob]:
        return multiple(*self._submit(jobs))

    @rule(known=submissions)
    def submit_again(self, known: NewJob) -> None:
        assume(self.now() - known.create_time < _REQUEST_IDS_ARE_KEPT - HALF_TICK)
        again = dataclasses.replace(new_job(self.time, request_id=known.request_id), spec=known.spec)

        assert ids(self.world.run(self.store.insert_jobs(CLIENT, [again]))) == [known.job_id]

    @rule(job=submissions, rank=st.integers(1, 2))
    def raise_leader(self, job: NewJob, rank: int) -> None:
        self.world.run(self.store.raise_leader(job.job_id, rank))

        self.record.jobs[job.job_id].raise_to(rank, self.now())

    @rule(ticks=st.sampled_from([0.5, 2.5]))
    def raise_old(self, ticks: float) -> None:
        old = [
            job
            for job in map(self.record.jobs.__getitem__, self.record.claimable(self.now()))
            if job.rank > 1 and job.rank_time <= self.now() - ticks * TICK
        ]

        assert self.world.run(self.store.raise_old(ticks * TICK)) == len(old)

        for job in old:
            job.raise_to(job.rank - 1, self.now())

    @rule(limit=st.sampled_from([None, None, 3, 1]))
    def limit(self, limit: int | None) -> None:
        self.record.max_in_flight = limit
        self.world.run(change(self.store, limits=Limits(max_in_flight=limit)))

    @rule(
        target=attempts,
        lane=st.sampled_from([LANE, LANE, SECOND_LANE]),
        counts=st.tuples(st.integers(0, 2), st.integers(1, 4)),
        max_rank=st.sampled_from([3, 2, 1]),
    )
    def claim(self, lane: str, counts: tuple[int, ...], max_rank: int) -> MultipleResults[AttemptId]:
        """Claim for the latest sessions, also for those that are lost: the dispatcher may not know yet."""
        slots = [
            Slots(executor_id, known.session, count)
            for (executor_id, known), count in zip(self.record.executors.items(), counts, strict=True)
        ]
        return multiple(*self._claim(lane, slots, max_rank))

    @rule(attempt=attempts)
    def succeed(self, attempt: AttemptId) -> None:
        job, step = self.record.jobs[attempt.job_id], self.record.attempts[attempt]
        taken = job.step == step and not job.state.is_final
        output = f"{attempt.job_id} {attempt.attempt}"

        if step < job.steps:
            self._advance(passed(attempt, self.time, output=output), taken=taken)
        else:
            self._finish(success(attempt, self.time, output=output, step=step), taken=taken)

    @rule(attempt=attempts)
    def succeed_as_what_it_is_not(self, attempt: AttemptId) -> None:
        """Nothing comes of a first step that is told as the last one, or of a last one as the first of two."""
        steps, step = self.record.jobs[attempt.job_id].steps, self.record.attempts[attempt]

        if step < steps:
            self._finish(success(attempt, self.time, step=step), taken=False)
        else:
            self._advance(passed(attempt, self.time, step=step), taken=False)

    @rule(attempt=attempts, error=st.sampled_from(ERRORS))
    def fail(self, attempt: AttemptId, error: JobError) -> None:
        self._finish(failure(attempt, self.time, error), taken=self.record.runs(attempt))

    @rule(attempt=attempts)
    def expire_at_its_end(self, attempt: AttemptId) -> None:
        final = dataclasses.replace(failure(attempt, self.time), state=JobState.EXPIRED)

        self._finish(final, taken=self.record.runs(attempt))

    @rule(attempt=attempts, charged=st.booleans(), ticks=st.sampled_from([-0.5, 0.5, 3.5]))
    def retry(self, attempt: AttemptId, charged: bool, ticks: float) -> None:
        self._give_back([attempt], charged=charged, after_seconds=(ticks * TICK).total_seconds())

    @rule(attempt=attempts)
    def release(self, attempt: AttemptId) -> None:
        self._give_back([attempt])

    @rule(attempt=attempts, behind=st.integers(0, 1))
    def lose(self, attempt: AttemptId, behind: int) -> None:
        """Give an attempt back as a rescuer does: in the session that it saw it in."""
        self._lose([attempt], behind)

    @rule(attempt=attempts)
    def tell_late(self, attempt: AttemptId) -> None:
        late = record(attempt, self.time, AttemptOutcome.THROTTLED, cost_usd=0.125)
        outcomes = self.record.jobs[attempt.job_id].outcomes

        self.world.run(self.store.note_late([late]))

        if outcomes.get(attempt.attempt) in (AttemptOutcome.LOST, AttemptOutcome.CANCELLED):
            outcomes[attempt.attempt] = AttemptOutcome.THROTTLED

    @rule(jobs=st.lists(submissions, min_size=1, max_size=3))
    def cancel(self, jobs: list[NewJob]) -> None:
        named = {job.job_id for job in jobs}
        open_jobs = [job_id for job_id in named if not self.record.jobs[job_id].state.is_final]
        to_stop = self.record.stop(open_jobs)

        ended = self.world.run(self.store.cancel(CLIENT, sorted(named)))

        assert not ended.attempts
        assert sorted(ended.changed) == sorted(self.record.end(open_jobs, JobState.CANCELLED, self.now()))
        assert _in_order(ended.to_stop) == _in_order(to_stop)

    @rule()
    def expire(self) -> None:
        expired = [job_id for job_id, job in self.record.jobs.items() if job.has_expired(self.now())]

        changed, next_time = self.world.run(self.store.expire_due())

        assert sorted(changed) == sorted(self.record.end(expired, JobState.EXPIRED, self.now()))
        times = [job.expire_time for job in self.record.jobs.values() if job.waits and job.expire_time]
        assert next_time == min((time - self.world.passed for time in times), default=None)

    @rule()
    def promote(self) -> None:
        scheduled = [job for job in self.record.jobs.values() if job.state is JobState.SCHEDULED]
        now = self.now()

        next_due = self.world.run(self.store.promote_due())

        for job in scheduled:
            if job.due_time is not None and job.due_time <= now:
                job.state, job.due_time = JobState.QUEUED, None
        times = [job.due_time - self.world.passed for job in scheduled if job.due_time]
        assert next_due == min(times, default=None)

    @rule(ticks=st.integers(1, 3))
    def pass_time(self, ticks: int) -> None:
        self.world.pass_by(ticks * TICK)

    @rule(
        executor_id=st.sampled_from(EXECUTOR_IDS),
        held=st.lists(attempts, max_size=3, unique=True),
        returns=st.booleans(),
    )
    def dial(self, executor_id: str, held: Collection[AttemptId], returns: bool) -> None:
        registration = self.world.run(self.store.register(executor(executor_id), held))
        session, kept = self.record.dial(executor_id, held, self.now())

        assert registration.session == session
        assert set(registration.held) == kept
        assert set(registration.orphaned) == set(self.record.running_on(executor_id)) - kept
        if returns:
            self._give_back(registration.orphaned)

    @rule(executor_id=st.sampled_from(EXECUTOR_IDS))
    def beat(self, executor_id: str) -> None:
        known = self.record.executors[executor_id]

        assert not self.world.run(self.store.touch(executor_id, known.session - 1))
        assert self.world.run(self.store.touch(executor_id, known.session)) == known.lives
        if known.lives:
            known.last_seen = self.now()

    @rule(ticks=st.sampled_from([0, 0.5, 1.5]), returns=st.booleans())
    def rescue(self, ticks: float, returns: bool) -> None:
        silent_since = self.now() - ticks * TICK

        lost_now = self.world.run(self.store.declare_lost(ticks * TICK))

        assert set(lost_now) == self.record.lose(silent_since if ticks else self.now())
        if returns:
            self._lose(lost_now)


def _in_order(attempts: Collection[RunningAttempt]) -> list[RunningAttempt]:
    return sorted(attempts, key=lambda each: each.attempt_id)
