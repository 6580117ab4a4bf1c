import dataclasses
import datetime

from scheduler_peers import dial, throttled
from scheduler_world import World, looping
from stores import LANE, submit

from devkit.virtual_time import in_virtual_time
from policies.breaker import Breaker
from scheduler.fleet import Assignment, OutcomeAck, Withdraw
from scheduler.jobs import JobState
from scheduler.outcomes import Throttled

MINUTE = datetime.timedelta(minutes=1)


@in_virtual_time
async def test_a_429_brings_the_jobs_back_whose_calls_have_not_begun_on_other_executors() -> None:
    world = World()
    first, second = await dial(world, "e1", slots=1), await dial(world, "e2", slots=1)
    await submit(world.store, world.clock, 2, 2)
    async with looping(world.dispatcher.run, world.completer.run):
        [told] = await first.receive()
        [waiting] = await second.receive()

        await first.tell(throttled(told, Throttled("slow down", MINUTE)))
        await first.hear(OutcomeAck)
        [withdraw] = await second.hear(Withdraw)
        await second.say(withdrawn=[waiting])

    assert withdraw.attempt_id == waiting
    assert await world.states([told.job_id, waiting.job_id]) == [JobState.QUEUED] * 2
    assert (await world.see(waiting.job_id)).retry_count == 0


@in_virtual_time
async def test_a_pause_on_another_scheduler_is_seen_with_the_next_look() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock, 2)
    async with looping(world.dispatcher.run):
        [item] = await executor.hear(Assignment)
    await world.board.refresh()

    await world.store.change_lane(LANE, lambda lane: (dataclasses.replace(lane, paused=True), None))
    await world.board.refresh()

    assert [each.attempt_id for each in await executor.hear(Withdraw)] == [item.job.attempt_id]


@in_virtual_time
async def test_the_probe_of_a_breaker_is_left_alone() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock, 2)
    half_open = Breaker(failures=5, open_until=world.clock.now())
    await world.store.change_lane(LANE, lambda lane: (dataclasses.replace(lane, breaker=half_open), None))
    async with looping(world.dispatcher.run):
        [probe] = await executor.receive()
    await world.board.refresh()

    assert probe.job_id == job_id
    assert await executor.has_heard(Withdraw) == []


@in_virtual_time
async def test_what_was_on_its_way_when_its_lane_closed_comes_back_with_the_next_look() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock, 2)

    async def close() -> None:
        world.store.after.clear()
        await world.store.change_lane(LANE, lambda lane: (dataclasses.replace(lane, paused=True), None))
        await world.board.refresh()

    world.store.after["claim"] = close
    async with looping(world.dispatcher.run):
        [item] = await executor.hear(Assignment)
        assert await executor.has_heard(Withdraw) == []
    await world.board.refresh()
    await world.board.refresh()

    assert [each.attempt_id for each in await executor.has_heard(Withdraw)] == [item.job.attempt_id]


@in_virtual_time
async def test_what_an_executor_brings_along_into_a_closed_lane_is_wished_back() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock, 2)
    async with looping(world.dispatcher.run):
        [attempt] = await executor.receive()
    await world.set_lane(paused=True)

    returned = await dial(world, held=[attempt])
    await world.board.refresh()

    assert [each.attempt_id for each in await returned.has_heard(Withdraw)] == [attempt]
