"""Whatever happens in whatever order: no job of the store in memory is lost, doubled, overtaken or changed at its end.

The machine does what clients, executors, rescuers and dispatchers do, late and repeated calls included, and keeps a
record of what must come of it.
"""

import datetime
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule
from store_record import ExpectedExecutor, Record
from stores import CLIENT, LANE, FakeTime, back, connect, executor, failure, new_job, success

from scheduler.jobs import Job, JobState, NewJob
from scheduler.memory_store import MemoryStore
from scheduler.ports import AttemptId, FinalRecord, JobQuery, Slots

LONGEST_WAIT_SECONDS = 20
EXECUTOR_IDS = ("e1", "e2")

Answer = TypeVar("Answer")


def answer(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what the call returns, and hold that it never gives up control: that is what makes it atomic."""
    try:
        call.send(None)
    except StopIteration as end:
        value: Answer = end.value
        return value
    call.close()
    raise AssertionError("The store waited in the middle of a call.")


class StoreMachine(RuleBasedStateMachine):
    """Every rule does one thing to the store and to the record, and compares the answers."""

    submissions: Bundle[NewJob] = Bundle("submissions")
    attempts: Bundle[AttemptId] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.store = MemoryStore(clock=self.time)
        self.record = Record()
        self.ended: dict[str, Job] = {}

    @initialize(target=submissions, ranks=st.lists(st.integers(1, 3), min_size=3, max_size=6))
    def begin(self, ranks: list[int]) -> MultipleResults[NewJob]:
        for executor_id in EXECUTOR_IDS:
            self.dial(executor_id, keeps=set(), returns=False)
        return multiple(*self._submit(ranks))

    @rule(target=submissions, ranks=st.lists(st.integers(1, 3), min_size=1, max_size=2))
    def submit(self, ranks: list[int]) -> MultipleResults[NewJob]:
        return multiple(*self._submit(ranks))

    @rule(known=submissions)
    def submit_again(self, known: NewJob) -> None:
        assert answer(self.store.insert_jobs(CLIENT, [known])) == [known.job_id]

    @rule(target=attempts, counts=st.tuples(st.integers(0, 2), st.integers(1, 4)), max_rank=st.sampled_from([3, 2, 1]))
    def claim(self, counts: tuple[int, ...], max_rank: int) -> MultipleResults[AttemptId]:
        """Claim for the latest sessions, also for those that are lost: the dispatcher may not know yet."""
        slots = [
            Slots(executor_id, known.session, count)
            for (executor_id, known), count in zip(self.record.executors.items(), counts, strict=True)
        ]

        return multiple(*self._claim(slots, max_rank))

    @rule(attempt=attempts)
    def succeed(self, attempt: AttemptId) -> None:
        taken = not self.record.jobs[attempt.job_id].state.is_final

        self._finish(success(attempt, self.time), taken=taken)

    @rule(attempt=attempts)
    def fail(self, attempt: AttemptId) -> None:
        self._finish(failure(attempt, self.time), taken=self.record.runs(attempt))

    @rule(attempt=attempts, charged=st.booleans(), after_seconds=st.integers(-1, LONGEST_WAIT_SECONDS))
    def retry(self, attempt: AttemptId, charged: bool, after_seconds: int) -> None:
        self._give_back([attempt], charged=charged, after_seconds=after_seconds)

    @rule(attempt=attempts)
    def release(self, attempt: AttemptId) -> None:
        self._give_back([attempt])

    @rule(executor_id=st.sampled_from(EXECUTOR_IDS), keeps=st.sets(st.integers(0, 3)), returns=st.booleans())
    def dial(self, executor_id: str, keeps: set[int], returns: bool) -> None:
        running = self.record.running_on(executor_id)
        held = {attempt for index, attempt in enumerate(running) if index in keeps}
        known = self.record.executors.setdefault(executor_id, ExpectedExecutor(0, self.time.now()))

        registration = answer(self.store.register(executor(executor_id), held))
        known.session, known.last_seen = known.session + 1, self.time.now()

        assert registration.session == known.session
        assert set(registration.held) == held
        assert set(registration.orphaned) == set(running) - held
        for attempt in held:
            self.record.jobs[attempt.job_id].session = known.session
        if returns:
            self._give_back(registration.orphaned)

    @rule(executor_id=st.sampled_from(EXECUTOR_IDS))
    def beat(self, executor_id: str) -> None:
        known = self.record.executors[executor_id]

        assert not answer(self.store.touch(executor_id, known.session - 1))
        assert answer(self.store.touch(executor_id, known.session)) == known.lives
        if known.lives:
            known.last_seen = self.time.now()

    @rule(silent_seconds=st.sampled_from([0, 5, 10]), returns=st.booleans())
    def rescue(self, silent_seconds: int, returns: bool) -> None:
        silent_for = datetime.timedelta(seconds=silent_seconds)

        lost = answer(self.store.declare_lost(silent_for))

        assert set(lost) == self.record.lose(self.time.now() - silent_for)
        if returns:
            self._give_back(lost)

    @rule()
    def promote(self) -> None:
        scheduled = [self.record.jobs[job_id] for job_id in self.record.in_state(JobState.SCHEDULED)]
        now = self.time.now()

        next_due = answer(self.store.promote_due())

        for job in scheduled:
            if job.due_time is not None and job.due_time <= now:
                job.wait(None)
        assert next_due == min((job.due_time for job in scheduled if job.due_time), default=None)

    @rule(seconds=st.integers(1, 15))
    def pass_time(self, seconds: int) -> None:
        self.time.pass_by(seconds)

    @invariant()
    def every_accepted_job_is_in_one_state_the_expected_one(self) -> None:
        listed = {state: self._listed(state) for state in JobState}

        assert sorted(job_id for ids in listed.values() for job_id in ids) == sorted(self.record.jobs)
        for state, ids in listed.items():
            assert sorted(ids) == sorted(self.record.in_state(state))

    @invariant()
    def jobs_know_their_attempts_and_never_change_after_their_end(self) -> None:
        jobs = self._jobs()

        for job_id, expected in self.record.jobs.items():
            job = jobs[job_id]
            assert (job.attempt, job.retry_count) == (expected.attempt, expected.retry_count)
            assert (job.executor_id, job.next_attempt_time) == (expected.executor_id, expected.due_time)
        assert {job_id: jobs[job_id] for job_id in self.ended} == self.ended

    @invariant()
    def no_job_runs_for_two_attempts(self) -> None:
        assert set(answer(self.store.find_running(self.record.attempts))) == set(self.record.running())

    @invariant()
    def the_best_waiting_job_is_the_head(self) -> None:
        waiting = self.record.in_state(JobState.QUEUED)

        heads = answer(self.store.lane_heads(thorough=False))

        assert [(head.lane, head.rank) for head in heads] == [
            (LANE, self.record.jobs[job_id].rank) for job_id in waiting[:1]
        ]
        assert answer(self.store.count_waiting(1_000)) == len(waiting)

    def teardown(self) -> None:
        """Let every attempt be given back and succeed the next time: no accepted job may be left behind."""
        self._give_back(self.record.attempts)
        self.time.pass_by(LONGEST_WAIT_SECONDS)
        self.promote()
        session = answer(connect(self.store, "last"))
        for attempt in self._claim([Slots("last", session, 1_000)], 3):
            self._finish(success(attempt, self.time), taken=True)

        assert all(job.state.is_final for job in self._jobs().values())

    def _submit(self, ranks: list[int]) -> list[NewJob]:
        first = len(self.record.jobs)
        jobs = [new_job(self.time, request_id=f"r{first + n}", priority=rank) for n, rank in enumerate(ranks)]

        assert answer(self.store.insert_jobs(CLIENT, jobs)) == [job.job_id for job in jobs]

        for job in jobs:
            self.record.accept(job.job_id, job.spec.priority)
        return jobs

    def _claim(self, slots: Sequence[Slots], max_rank: int) -> list[AttemptId]:
        claimed = answer(self.store.claim(LANE, slots, max_rank=max_rank, thorough=False))

        self.record.start(claimed, slots, max_rank)
        return [job.attempt_id for job in claimed]

    def _finish(self, final: FinalRecord, *, taken: bool) -> None:
        attempt = final.record.attempt_id

        assert set(answer(self.store.finish([final]))) == ({attempt} if taken else set())

        if taken:
            self.record.jobs[attempt.job_id].end(final.state, attempt.attempt)
            self.ended[attempt.job_id] = self._jobs()[attempt.job_id]

    def _give_back(
        self, attempts: Collection[AttemptId], *, charged: bool = False, after_seconds: float | None = None
    ) -> None:
        running = {attempt for attempt in attempts if self.record.runs(attempt)}
        returns = {
            attempt: back(attempt, self.time, charged=charged, after_seconds=after_seconds) for attempt in attempts
        }

        assert set(answer(self.store.give_back(list(returns.values())))) == running

        for attempt in running:
            self.record.jobs[attempt.job_id].wait(returns[attempt].due_time, charged=charged)

    def _jobs(self) -> dict[str, Job]:
        return dict(answer(self.store.get_jobs(CLIENT, self.record.jobs, attempts=True)))

    def _listed(self, state: JobState) -> list[str]:
        query = JobQuery(states=frozenset({state}), labels={})
        jobs = answer(self.store.list_jobs(CLIENT, query, before=None, limit=10_000, attempts=False))
        return [job.job_id for job in jobs]


TestTheStoreInMemory = StoreMachine.TestCase
TestTheStoreInMemory.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
