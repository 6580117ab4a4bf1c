from scheduler_peers import dial
from scheduler_world import World, fail_times, looping, settle
from stores import submit

from devkit.virtual_time import in_virtual_time
from scheduler.fleet import Permit, Stop
from scheduler.records import AttemptId, RunningAttempt

ATTEMPT = AttemptId("01990000-0000-7000-8000-000000000000", 1)
ELSEWHERE = RunningAttempt(ATTEMPT, "far away", 7)


@in_virtual_time
async def test_an_attempt_on_an_executor_that_is_connected_here_is_stopped_without_a_word_to_others() -> None:
    world = World()
    executor = await dial(world)

    await world.stops.stop([RunningAttempt(ATTEMPT, "e1", executor.session.number)])

    assert await executor.has_heard(Stop) == [Stop(ATTEMPT)]
    assert world.store.calls["post_stops"] == 0
    assert world.signals.announced == 0


@in_virtual_time
async def test_an_attempt_elsewhere_is_posted_and_the_others_are_told_to_look() -> None:
    world = World()
    executor = await dial(world)

    await world.stops.stop([ELSEWHERE, RunningAttempt(ATTEMPT, "e1", executor.session.number + 1)])

    assert await world.store.take_stops() == [ELSEWHERE, RunningAttempt(ATTEMPT, "e1", executor.session.number + 1)]
    assert world.signals.announced == 1
    assert await executor.has_heard(Stop) == []


@in_virtual_time
async def test_a_word_that_is_posted_elsewhere_reaches_the_executor_at_once_on_a_signal_and_soon_without() -> None:
    world = World()
    executor = await dial(world)
    word = RunningAttempt(ATTEMPT, "e1", executor.session.number)
    async with looping(world.stops.run):
        await settle()
        await world.store.post_stops([word])
        world.stops.wake()
        assert await executor.has_heard(Stop) == [Stop(ATTEMPT)]

        begun = world.clock.monotonic()
        await world.store.post_stops([word])
        await executor.hear(Stop)

    assert world.clock.monotonic() - begun <= 0.5


@in_virtual_time
async def test_words_for_other_schedulers_are_not_posted_again() -> None:
    world = World()
    await dial(world)
    await world.store.post_stops([ELSEWHERE])
    async with looping(world.stops.run):
        await world.clock.sleep(2)

    assert world.store.calls["post_stops"] == 1


@in_virtual_time
async def test_a_scheduler_without_executors_does_not_ask() -> None:
    world = World()
    async with looping(world.stops.run):
        await world.clock.sleep(5)

    assert world.store.calls["take_stops"] == 0


@in_virtual_time
async def test_an_outage_of_the_database_only_delays() -> None:
    world = World()
    executor = await dial(world)
    await world.store.post_stops([RunningAttempt(ATTEMPT, "e1", executor.session.number)])
    world.store.before["take_stops"] = fail_times(2)
    async with looping(world.stops.run):
        await executor.hear(Stop)

    assert world.clock.monotonic() < 3


@in_virtual_time
async def test_a_word_that_could_not_be_posted_is_no_error_of_whoever_cancels() -> None:
    world = World()
    world.store.before["post_stops"] = fail_times(1)

    await world.stops.stop([ELSEWHERE])

    assert await world.store.take_stops() == []


@in_virtual_time
async def test_a_stopped_attempt_gets_no_permit_any_more() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        [attempt] = await executor.receive()
    await executor.say(ready=[attempt])

    await world.stops.stop([RunningAttempt(attempt, "e1", executor.session.number)])
    async with looping(world.permits.run):
        assert await executor.has_heard(Permit) == []
