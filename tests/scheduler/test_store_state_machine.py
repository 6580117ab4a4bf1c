"""Whatever happens in whatever order: no job is lost, doubled, overtaken or changed after its end, in either store."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from store_machine import LONGEST_WAIT, StoreMachine
from store_moves import RESULT_LIFETIME
from store_worlds import MemoryWorld, PostgresWorld, World
from stores import CLIENT, LANE, SECOND_LANE, connect, used

from scheduler.jobs import Job, JobState
from scheduler.records import JobQuery, Slots


class CheckedStoreMachine(StoreMachine):
    """Looks after each step whether the store is as the record says."""

    @invariant()
    def every_accepted_job_is_in_one_state_the_expected_one(self) -> None:
        open_jobs = self.record.in_state(JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING)

        for states in ({JobState.QUEUED, JobState.SCHEDULED}, {JobState.RUNNING}):
            query = JobQuery(states=frozenset(states), labels={})
            listed = self.world.run(self.store.list_ids(CLIENT, query, before=None, limit=10_000))
            assert sorted(listed) == sorted(self.record.in_state(*states))
        self.world.check(len(open_jobs), self.record.groups.leaders())

    @invariant()
    def jobs_are_as_expected_and_never_change_after_their_end(self) -> None:
        jobs = self._jobs()

        for job_id, expected in self.record.jobs.items():
            expected.check(jobs[job_id], self.world.passed)
            if expected.state.is_final:
                job = _without_late_costs(jobs[job_id])
                assert self.ended.setdefault(job_id, job) == job

    @invariant()
    def no_job_runs_for_two_attempts(self) -> None:
        running = self.world.run(self.store.find_running(self.record.attempts))

        assert {attempt: (job.executor_id, job.session) for attempt, job in running.items()} == {
            attempt: (self.record.jobs[attempt.job_id].executor_id, self.record.jobs[attempt.job_id].session)
            for attempt in self.record.running()
        }

    @invariant()
    def the_best_waiting_job_of_each_lane_is_its_head(self) -> None:
        waiting = self.record.claimable(self.now())
        best: dict[str, int] = {}
        for job in map(self.record.jobs.__getitem__, waiting):
            if not self.record.is_full(job.lane):
                best.setdefault(job.lane, job.rank)

        heads = self.world.run(self.store.lane_heads(thorough=False)).heads

        assert [(head.lane, head.rank) for head in heads] == list(best.items())
        assert self.world.run(self.store.count_waiting(1_000)) == len(waiting)

    @invariant()
    def what_was_used_is_counted_once(self) -> None:
        jobs = self._jobs()
        attempts = [attempt for job in jobs.values() for attempt in job.attempts]
        accepted = [
            attempt.cost_usd
            for job_id, expected in self.record.jobs.items()
            for attempt in jobs[job_id].attempts
            if attempt.attempt in expected.accepted
        ]
        cost = sum(attempt.cost_usd for attempt in attempts)

        row = self.world.run(used(self.store))[()]

        assert row.jobs == sum(job.state.is_final for job in jobs.values())
        assert (row.cost_usd, row.wasted_usd) == (cost, cost - sum(accepted))
        assert row.unanswered_calls == sum(attempt.unanswered for attempt in attempts)

    def teardown(self) -> None:
        """Let every attempt be given back and succeed the next time: no accepted job may be left behind."""
        try:
            self.limit(None)
            self._give_back({attempt.job_id: attempt for attempt in self.record.running()}.values())
            self.world.pass_by(LONGEST_WAIT)
            self.promote()
            self.expire()
            session = self.world.run(connect(self.store, "last"))
            for lane in (LANE, SECOND_LANE):
                for attempt in self._claim(lane, [Slots("last", session, 1_000)], 3):
                    self.succeed(attempt)

            assert all(job.state.is_final for job in self._jobs().values())
            self.world.check(0, set())
        finally:
            self.world.close()

    def _jobs(self) -> dict[str, Job]:
        return dict(self.world.run(self.store.get_jobs(CLIENT, list(self.record.jobs), attempts=True)))


def _without_late_costs(job: Job) -> Job:
    result = dataclasses.replace(job.result, cost_usd=0.0) if job.result else None
    return dataclasses.replace(job, attempts=(), result=result, cost_usd=0.0)


def on(world: Callable[[], World]) -> type[CheckedStoreMachine]:
    class Machine(CheckedStoreMachine):
        def __init__(self) -> None:
            super().__init__(world())

    return Machine


# It takes seconds, but to make a failing example smaller takes minutes.
@pytest.mark.timeout(400)
def test_the_store_in_memory() -> None:
    run_state_machine_as_test(
        on(lambda: MemoryWorld(RESULT_LIFETIME)),
        settings=settings(max_examples=200, stateful_step_count=50, deadline=None, report_multiple_bugs=False),
    )


def test_the_store_on_postgres(shared_database_url: str) -> None:
    run_state_machine_as_test(
        on(lambda: PostgresWorld(shared_database_url, RESULT_LIFETIME)),
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
            # To make an example smaller takes minutes here; what fails here alone is to be cut by hand.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
