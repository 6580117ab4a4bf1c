import datetime

from scheduler_peers import dial
from scheduler_world import World, fail_times, looping, settle
from stores import CLIENT, back, new_job, submit

from devkit.virtual_time import EPOCH, in_virtual_time
from scheduler.fleet import Assignment
from scheduler.jobs import JobState


@in_virtual_time
async def test_a_retry_is_dispatched_when_it_is_due() -> None:
    world = World()
    executor = await dial(world, slots=2)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        [first] = await executor.hear(Assignment)
        record = back(first.job.attempt_id, world.clock, charged=True, after_seconds=30)
        await world.store.give_back([record])
        assert record.due_time is not None
        world.dispatcher.expect_due(record.due_time)
        [second] = await executor.hear(Assignment)

    assert second.job.attempt_id.attempt == 2
    assert EPOCH + datetime.timedelta(seconds=31) > world.clock.now() >= record.due_time


async def scheduled(world: World, seconds: float) -> None:
    due = world.clock.now() + datetime.timedelta(seconds=seconds)
    await world.store.insert_jobs(CLIENT, [new_job(world.clock, schedule_time=due)])
    world.dispatcher.expect_due(due)


@in_virtual_time
async def test_a_due_time_that_is_told_during_a_promotion_is_kept() -> None:
    world = World()
    executor = await dial(world, slots=2)
    await scheduled(world, 1.0)

    async def tell() -> None:
        world.store.after.clear()
        await scheduled(world, 0.3)

    async with looping(world.dispatcher.run):
        await world.clock.sleep(0.9)
        # Its answer was made before the second job was there.
        world.store.after["promote_due"] = tell
        await executor.hear(Assignment, 2)

    assert world.clock.monotonic() < 1.4


@in_virtual_time
async def test_other_schedulers_hear_of_a_job_that_is_due_here() -> None:
    world = World()
    async with looping(world.dispatcher.run):
        await settle()
        await scheduled(world, 0.2)
        before = world.signals.announced
        await world.clock.sleep(0.3)

    assert world.signals.announced == before + 1


@in_virtual_time
async def test_a_due_time_survives_an_outage_while_promoting() -> None:
    world = World()
    executor = await dial(world, slots=1)
    async with looping(world.dispatcher.run):
        await settle()
        await scheduled(world, 0.2)
        world.store.before["promote_due"] = fail_times(1)
        await executor.hear(Assignment)

    assert world.clock.monotonic() < 1.3


@in_virtual_time
async def test_a_lane_that_opens_again_is_served_at_that_moment() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await world.set_lane(closed_until=EPOCH + datetime.timedelta(seconds=0.7))
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await executor.hear(Assignment)

    assert 0.7 <= world.clock.monotonic() < 0.8


@in_virtual_time
async def test_jobs_whose_time_is_over_expire_and_their_watchers_hear_of_it() -> None:
    world = World()
    job = new_job(world.clock, expire_time=world.clock.now() + datetime.timedelta(seconds=0.5))
    await world.store.insert_jobs(CLIENT, [job])
    async with looping(world.dispatcher.run):
        world.dispatcher.expect_due(world.clock.now() + datetime.timedelta(seconds=0.5))
        await world.clock.sleep(0.6)

    assert (await world.see(job.job_id)).state is JobState.EXPIRED
    assert world.hub.changed == [job.job_id]


@in_virtual_time
async def test_a_job_that_waits_for_long_rises_where_that_is_wanted() -> None:
    world = World(aging=datetime.timedelta(minutes=1))
    [low] = await submit(world.store, world.clock, 3)
    async with looping(world.dispatcher.run):
        await world.clock.sleep(70)
        await submit(world.store, world.clock, 2)
        executor = await dial(world, slots=1)
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.attempt_id.job_id == low


@in_virtual_time
async def test_the_poll_slows_down_when_nothing_waits_and_hurries_when_much_does() -> None:
    world = World()
    async with looping(world.dispatcher.run):
        await world.clock.sleep(3)
        polls = world.store.calls["count_waiting"]
        await world.clock.sleep(20)
        assert world.store.calls["count_waiting"] - polls == 4

        await submit(world.store, world.clock, *[2] * 6)
        await world.clock.sleep(5)
        polls = world.store.calls["count_waiting"]
        await world.clock.sleep(20)
        assert world.store.calls["count_waiting"] - polls == 40
