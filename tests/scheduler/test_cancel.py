import pytest
from scheduler_peers import dial, failed, succeeded
from scheduler_world import OTHER_LANE, OTHER_MODEL, World, looping, settle
from stores import CLIENT, insert, new_job, submit

from devkit.virtual_time import in_virtual_time
from scheduler.errors import InvalidRequest, JobIsFinal, JobNotFound
from scheduler.fleet import Assignment, OutcomeAck, Stop
from scheduler.jobs import AttemptOutcome, JobState
from scheduler.records import JobQuery, RunningAttempt

CANCELLED, QUEUED = JobState.CANCELLED, JobState.QUEUED


@in_virtual_time
async def test_a_waiting_job_is_cancelled_and_its_watchers_hear_of_it() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    job = await world.cancel.job(CLIENT, job_id)

    assert (job.job_id, job.state, job.wait) == (job_id, CANCELLED, None)
    assert world.hub.changed == [job_id]


@in_virtual_time
async def test_a_running_job_is_cancelled_and_its_executor_here_is_told() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        [attempt] = await executor.receive()

    job = await world.cancel.job(CLIENT, job_id)

    assert job.state is CANCELLED
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.CANCELLED]
    assert await executor.has_heard(Stop) == [Stop(attempt)]


@in_virtual_time
async def test_a_job_that_runs_on_an_executor_of_another_scheduler_is_cancelled_by_a_word() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        [attempt] = await executor.receive()
    world.work.close(executor.session)

    await world.cancel.job(CLIENT, job_id)

    assert await world.store.take_stops() == [RunningAttempt(attempt, "e1", executor.session.number)]


@in_virtual_time
async def test_cancelling_twice_returns_the_job_as_it_is() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    first = await world.cancel.job(CLIENT, job_id)
    second = await world.cancel.job(CLIENT, job_id.upper())

    assert second == first
    assert world.store.calls["cancel"] == 1


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
@in_virtual_time
async def test_a_job_that_ended_otherwise_cannot_be_cancelled(state: JobState) -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with looping(world.dispatcher.run, world.completer.run):
        [attempt] = await executor.receive()
        good = state is JobState.SUCCEEDED
        await executor.tell(succeeded(attempt) if good else failed(attempt, "BLOCKED", retryable=False))
        await executor.hear(OutcomeAck)

    with pytest.raises(JobIsFinal) as refusal:
        await world.cancel.job(CLIENT, job_id)

    assert (refusal.value.job_id, refusal.value.state) == (job_id, state)


@in_virtual_time
async def test_a_job_that_ends_while_it_is_cancelled_is_final() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with looping(world.dispatcher.run, world.completer.run):
        [attempt] = await executor.receive()

        async def end() -> None:
            await executor.tell(succeeded(attempt))
            await world.completer.flush()

        world.store.before["cancel"] = end
        with pytest.raises(JobIsFinal):
            await world.cancel.job(CLIENT, job_id)


@in_virtual_time
async def test_another_clients_job_does_not_exist() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    with pytest.raises(JobNotFound):
        await world.cancel.job("somebody else", job_id)

    assert (await world.see(job_id)).state is QUEUED


@in_virtual_time
async def test_something_that_is_no_id_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await World().cancel.job(CLIENT, "42")

    assert [violation.path for violation in refusal.value.violations] == ["job_id"]


@in_virtual_time
async def test_a_follower_takes_the_place_of_a_cancelled_leader_at_once() -> None:
    world = World()
    leader, follower = await insert(world.store, CLIENT, [new_job(world.clock, dedup_key=b"same") for _ in range(2)])
    executor = await dial(world, slots=2)
    async with looping(world.dispatcher.run):
        await executor.receive()
        await settle()
        await world.cancel.job(CLIENT, leader)
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.attempt_id.job_id == follower
    assert world.clock.monotonic() < 0.1


async def two_lanes(world: World) -> tuple[list[str], list[str]]:
    """Return the ids of jobs that wait in one lane, and of those in the other."""
    return (
        await insert(world.store, CLIENT, [new_job(world.clock) for _ in range(3)]),
        await insert(world.store, CLIENT, [new_job(world.clock, model=OTHER_MODEL) for _ in range(2)]),
    )


@in_virtual_time
async def test_a_dry_run_counts_and_cancels_nothing() -> None:
    world = World()
    here, there = await two_lanes(world)

    assert await world.cancel.jobs(CLIENT, JobQuery(labels={}, lane=OTHER_LANE), dry_run=True) == 2

    assert await world.states([*here, *there]) == [QUEUED] * 5


@in_virtual_time
async def test_the_jobs_of_a_filter_are_cancelled_and_no_others() -> None:
    world = World()
    here, there = await two_lanes(world)
    [foreign] = await insert(world.store, "somebody else", [new_job(world.clock, model=OTHER_MODEL)])
    query = JobQuery(labels={}, lane=OTHER_LANE)

    assert await world.cancel.jobs(CLIENT, query, dry_run=False) == 2
    assert await world.cancel.jobs(CLIENT, query, dry_run=False) == 0

    assert await world.states(here) == [QUEUED] * 3
    assert await world.states(there) == [CANCELLED] * 2
    assert (await world.store.get_jobs("somebody else", [foreign], attempts=False))[foreign].state is QUEUED


@in_virtual_time
async def test_more_jobs_than_one_page_holds_are_cancelled() -> None:
    world = World()
    await insert(world.store, CLIENT, [new_job(world.clock) for _ in range(1_100)])

    assert await world.cancel.jobs(CLIENT, JobQuery(labels={}, user_id="user"), dry_run=False) == 1_100
    assert world.store.calls["cancel"] == 3


@in_virtual_time
async def test_a_leader_and_its_follower_are_cancelled_together_and_counted_once() -> None:
    world = World()
    jobs = await insert(world.store, CLIENT, [new_job(world.clock, dedup_key=b"same") for _ in range(2)])

    assert await world.cancel.jobs(CLIENT, JobQuery(labels={}, user_id="user"), dry_run=False) == 2
    assert await world.states(jobs) == [CANCELLED] * 2


@in_virtual_time
async def test_a_follower_that_goes_on_without_its_leader_is_not_counted() -> None:
    world = World()
    leader, follower = await insert(
        world.store, CLIENT, [new_job(world.clock, dedup_key=b"same", user_id=user_id) for user_id in ("one", "other")]
    )

    assert await world.cancel.jobs(CLIENT, JobQuery(labels={}, user_id="one"), dry_run=False) == 1

    assert await world.states([leader, follower]) == [CANCELLED, QUEUED]
    assert set(world.hub.changed) == {leader, follower}


@in_virtual_time
async def test_a_filter_without_a_condition_is_refused() -> None:
    world = World()
    jobs = await submit(world.store, world.clock)

    for dry_run in (True, False):
        with pytest.raises(InvalidRequest) as refusal:
            await world.cancel.jobs(CLIENT, JobQuery(labels={}), dry_run=dry_run)
        assert [violation.path for violation in refusal.value.violations] == ["filter"]

    assert await world.states(jobs) == [QUEUED]


@in_virtual_time
async def test_a_filter_of_final_states_cancels_nothing() -> None:
    world = World()
    jobs = await submit(world.store, world.clock)

    query = JobQuery(labels={}, states=frozenset({JobState.FAILED}))

    assert await world.cancel.jobs(CLIENT, query, dry_run=False) == 0
    assert await world.states(jobs) == [QUEUED]
