import asyncio
import datetime

from scheduler_peers import Executor, dial, succeeded
from scheduler_world import LOST_AFTER, World, looping, settle
from stores import submit

from devkit.virtual_time import VirtualClock, freeze, in_virtual_time
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Assignment, Stop
from scheduler.jobs import AttemptOutcome, JobState, Stage
from scheduler.records import AttemptId
from scheduler.rescue import maintain

LOST_SECONDS = LOST_AFTER.total_seconds()


async def holding(world: World, count: int = 1) -> tuple[Executor, list[AttemptId]]:
    """Return an executor that runs so many attempts."""
    executor = await dial(world, slots=count)
    await submit(world.store, world.clock, *[2] * count)
    return executor, await executor.receive(count)


async def beating(world: World, executor: Executor, attempts: list[AttemptId], *, seconds: float) -> None:
    """Let an executor send a heartbeat each second for so long."""
    until = world.clock.monotonic() + seconds
    while world.clock.monotonic() < until:
        await executor.beat(*attempts)
        await world.clock.sleep(1)


@in_virtual_time
async def test_the_job_of_an_executor_that_fell_silent_waits_again_uncharged_and_is_dealt() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        world.work.close(executor.session)
        silent_since = world.clock.monotonic()
        other = await dial(world, "e2", slots=1)
        [assignment] = await other.hear(Assignment)

    assert LOST_SECONDS <= world.clock.monotonic() - silent_since < LOST_SECONDS + 1.5
    job = await world.see(attempt.job_id)
    assert assignment.job.attempt_id == AttemptId(attempt.job_id, 2)
    assert job.retry_count == 0
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.LOST]


@in_virtual_time
async def test_an_executor_that_gives_signs_of_life_keeps_its_job() -> None:
    world = World()
    async with world.running():
        executor, [attempt] = await holding(world)
        await beating(world, executor, [attempt], seconds=60)

    assert (await world.see(attempt.job_id)).state is JobState.RUNNING


@in_virtual_time
async def test_a_scheduler_that_just_started_rescues_nothing_before_it_was_well_for_long_enough() -> None:
    world = World()
    async with looping(world.dispatcher.run):
        _, [attempt] = await holding(world)
    await world.clock.sleep(3600)
    async with world.running():
        await world.clock.sleep(LOST_SECONDS - 0.5)
        assert (await world.see(attempt.job_id)).state is JobState.RUNNING
        await world.clock.sleep(2)
        assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_a_scheduler_that_stood_still_rescues_nothing_before_it_was_well_for_long_enough() -> None:
    world = World()
    async with world.running():
        executor, [attempt] = await holding(world)
        await beating(world, executor, [attempt], seconds=30)
        freeze(60)
        # The executor dials again within 2 s, but its last sign of life is a minute old.
        await world.clock.sleep(2)
        await beating(world, executor, [attempt], seconds=30)

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)


@in_virtual_time
async def test_a_short_deadline_makes_a_short_stall_dangerous() -> None:
    world = World(lost_after=datetime.timedelta(seconds=3))
    async with world.running():
        executor, [attempt] = await holding(world)
        await beating(world, executor, [attempt], seconds=30)
        freeze(3.5)
        await world.clock.sleep(0.5)
        await beating(world, executor, [attempt], seconds=10)

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)


@in_virtual_time
async def test_what_was_lost_while_a_scheduler_stood_still_is_rescued_later() -> None:
    world = World()
    async with world.running():
        _, [attempt] = await holding(world)
        await world.clock.sleep(5)
        freeze(60)
        await world.clock.sleep(LOST_SECONDS - 0.5)
        assert (await world.see(attempt.job_id)).state is JobState.RUNNING
        await world.clock.sleep(2)
        assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_an_outage_of_the_database_runs_nothing_again() -> None:
    world = World()
    async with world.running():
        executor, [attempt] = await holding(world)
        await beating(world, executor, [attempt], seconds=30)
        world.store.away = True
        await beating(world, executor, [attempt], seconds=120)
        world.store.away = False
        await world.clock.sleep(2)
        await beating(world, executor, [attempt], seconds=30)
        await executor.tell(succeeded(attempt))
        await world.completer.flush()

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt, len(job.attempts)) == (JobState.SUCCEEDED, 1, 1)
    assert world.health_reports[0]
    assert False in world.health_reports
    assert world.health_reports[-1]


@in_virtual_time
async def test_an_outage_is_told_within_seconds_and_so_is_its_end() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(1)
        assert world.health_reports == [True]
        world.store.away = True
        await world.clock.sleep(1.5)
        assert world.health_reports[-1] is False
        world.store.away = False
        await world.clock.sleep(1.5)
        assert world.health_reports[-1]


@in_virtual_time
async def test_a_hello_between_the_declaration_and_the_give_back_loses_nothing() -> None:
    world = World()
    back: list[Executor] = []

    async def say_hello() -> None:
        world.store.after.pop("declare_lost")
        back.append(await dial(world, held=[attempt]))

    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        world.work.close(executor.session)
        world.store.after["declare_lost"] = lambda: say_hello() if world.clock.monotonic() > 40 else None
        while not back:
            await world.clock.sleep(0.5)
        await beating(world, back[0], [attempt], seconds=20)
        assert await back[0].has_heard(Stop) == []

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt, job.attempts) == (JobState.RUNNING, 1, ())


@in_virtual_time
async def test_an_executor_that_comes_back_after_its_job_was_rescued_keeps_it_if_nobody_else_has_it() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        world.work.close(executor.session)
        await world.clock.sleep(15)
        assert (await world.see(attempt.job_id)).state is JobState.QUEUED
        again = await dial(world, held=[attempt])

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt, job.attempts) == (JobState.RUNNING, 1, ())
    assert attempt in again.session.held


@in_virtual_time
async def test_a_give_back_that_failed_is_tried_again() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        world.work.close(executor.session)
        failures = [StoreUnavailable("away")]

        def fail_once() -> None:
            if failures:
                raise failures.pop()

        world.store.before["give_back"] = fail_once
        await world.clock.sleep(30)

    assert not failures
    assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_a_job_that_killed_three_executors_while_they_prepared_it_is_poison() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        await executor.enter(attempt, Stage.FETCHING_IMAGE)
        await world.clock.sleep(1)
        world.work.close(executor.session)
        for name in ("e2", "e3"):
            await world.clock.sleep(12)
            executor = await dial(world, name, slots=1)
            await executor.receive()
            world.work.close(executor.session)
        await world.clock.sleep(12)

    job = await world.see(attempt.job_id)
    assert job.error is not None
    assert (job.state, job.error.kind, job.attempt) == (JobState.FAILED, "POISON", 3)


@in_virtual_time
async def test_an_executor_lost_during_its_call_makes_no_suspect() -> None:
    world = World()
    async with world.running():
        await world.clock.sleep(30)
        executor, [attempt] = await holding(world)
        for name in ("e2", "e3", "e4"):
            await executor.enter(attempt, Stage.GEMINI_ANALYZING)
            await world.clock.sleep(1)
            world.work.close(executor.session)
            await world.clock.sleep(12)
            executor = await dial(world, name, slots=1)
            [attempt] = await executor.receive()

    job = await world.see(attempt.job_id)
    assert (job.state, job.attempt) == (JobState.RUNNING, 4)


@in_virtual_time
async def test_a_call_that_its_executor_never_ends_is_ended_as_a_timeout() -> None:
    world = World()
    async with world.running():
        executor, [attempt] = await holding(world)
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        await beating(world, executor, [attempt], seconds=329)
        assert (await world.see(attempt.job_id)).state is JobState.RUNNING
        await beating(world, executor, [attempt], seconds=3)

    job = await world.see(attempt.job_id)
    assert (job.state, job.retry_count) == (JobState.QUEUED, 1)
    assert job.attempts[0].error is not None
    assert job.attempts[0].error.kind == "TIMEOUT"
    assert Stop(attempt) in await executor.has_heard(Stop)


@in_virtual_time
async def test_a_word_from_another_scheduler_is_worth_a_look_at_once_but_not_a_storm() -> None:
    world = World()
    async with looping(world.rescue.run):
        await settle()
        looks = world.store.calls["is_accepting"]
        world.rescue.wake()
        await world.clock.sleep(0.25)
        assert world.store.calls["is_accepting"] == looks + 1
        for _ in range(100):
            world.rescue.wake()
            await world.clock.sleep(0.01)
        assert world.store.calls["is_accepting"] <= looks + 7


class Maintained:
    def __init__(self) -> None:
        self.times: list[float] = []

    async def maintain(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        if len(self.times) == 1:
            raise StoreUnavailable("away")


@in_virtual_time
async def test_the_store_is_maintained_each_minute_whatever_happens() -> None:
    store = Maintained()
    async with looping(lambda: maintain(store, clock=VirtualClock())):
        await asyncio.sleep(200)

    assert store.times == [60, 120, 180]
