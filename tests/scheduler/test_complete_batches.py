import asyncio
from collections.abc import Sequence

from scheduler_peers import Executor, dial, failed, released, succeeded
from scheduler_world import World, fail_times, looping, settle
from stores import submit

from devkit.virtual_time import in_virtual_time
from scheduler.complete import MAX_BUFFERED
from scheduler.errors import StoreUnavailable
from scheduler.fleet import OutcomeAck
from scheduler.jobs import JobState
from scheduler.outcomes import Outcome
from scheduler.records import AttemptId, Ended, FinalRecord, ReturnRecord


async def holding(world: World, count: int = 1) -> tuple[Executor, list[AttemptId]]:
    """Return an executor that runs so many attempts."""
    executor = await dial(world, slots=count)
    await submit(world.store, world.clock, *[2] * count)
    async with looping(world.dispatcher.run):
        return executor, await executor.receive(count)


def acknowledged(items: Sequence[OutcomeAck]) -> list[AttemptId]:
    return [item.attempt_id for item in items]


@in_virtual_time
async def test_outcomes_gather_while_a_batch_is_written() -> None:
    world = World()
    executor, attempts = await holding(world, 5)
    world.store.before["finish"] = lambda: world.clock.sleep(1)
    async with looping(world.completer.run):
        await executor.tell(succeeded(attempts[0]))
        await settle()
        for attempt in attempts[1:]:
            await executor.tell(succeeded(attempt))
        await executor.hear(OutcomeAck, 5)

    assert world.store.calls["finish"] == 2


class RefusingStoreRow(Exception):
    """What a row may do to a statement that holds it."""


@in_virtual_time
async def test_a_bad_row_strands_no_other() -> None:
    world = World()
    executor, attempts = await holding(world, 8)
    bad = attempts[5]
    finish = world.store.finish

    async def refuse(finals: Sequence[FinalRecord]) -> Ended:
        if bad in [final.record.attempt_id for final in finals]:
            raise RefusingStoreRow
        return await finish(finals)

    world.store.finish = refuse  # type: ignore[method-assign]
    async with looping(world.completer.run):
        await executor.tell(*map(succeeded, attempts))
        others = acknowledged(await executor.hear(OutcomeAck, 7))
        assert await executor.has_heard(OutcomeAck) == []
        # The next batch is written as ever.
        await executor.tell(succeeded(attempts[0]))
        await executor.hear(OutcomeAck)

    assert set(others) == {*attempts} - {bad}
    assert (await world.see(bad.job_id)).state is JobState.RUNNING


@in_virtual_time
async def test_a_lane_hears_of_each_failure_once_however_often_its_batch_is_written() -> None:
    world = World()
    executor, attempts = await holding(world, 8)
    give_back = world.store.give_back

    async def refuse(returns: Sequence[ReturnRecord]) -> object:
        if len(returns) > 1:
            raise RefusingStoreRow
        return await give_back(returns)

    world.store.give_back = refuse  # type: ignore[method-assign, assignment]
    world.store.before["finish"] = fail_times(1)
    async with looping(world.completer.run):
        await executor.tell(*map(failed, attempts[:2]))
        await executor.hear(OutcomeAck, 2)

    assert (await world.lane()).breaker.failures == 2


@in_virtual_time
async def test_a_batch_that_takes_too_long_is_written_in_halves() -> None:
    world = World()
    executor, attempts = await holding(world, 8)
    finish = world.store.finish
    sizes: list[int] = []

    async def time_out(finals: Sequence[FinalRecord]) -> Ended:
        sizes.append(len(finals))
        if len(finals) > 2:
            raise StoreUnavailable("the statement took too long")
        return await finish(finals)

    world.store.finish = time_out  # type: ignore[method-assign]
    async with looping(world.completer.run):
        await executor.tell(*map(succeeded, attempts))
        await executor.hear(OutcomeAck, 8)

    assert sizes == [8, 4, 2, 2, 4, 2, 2]


@in_virtual_time
async def test_outcomes_outlast_an_outage_and_those_told_again_meanwhile_are_kept_once() -> None:
    world = World()
    executor, attempts = await holding(world, 3)
    async with looping(world.completer.run):
        world.store.away = True
        await executor.tell(*map(succeeded, attempts))
        await world.clock.sleep(60)
        await executor.tell(*map(succeeded, attempts))
        world.store.away = False
        assert set(acknowledged(await executor.hear(OutcomeAck, 3))) == {*attempts}
        await world.clock.sleep(5)
        assert await executor.has_heard(OutcomeAck) == []

    assert await world.states([attempt.job_id for attempt in attempts]) == [JobState.SUCCEEDED] * 3


def unknown(number: int) -> Outcome:
    return released(AttemptId(f"01990000-0000-7000-8000-{number:012}", 1))


@in_virtual_time
async def test_a_full_buffer_slows_the_stream_and_drops_nothing() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.away = True
    async with looping(world.completer.run), asyncio.TaskGroup() as tasks:
        await executor.tell(succeeded(attempt))
        await settle()
        await executor.tell(*map(unknown, range(MAX_BUFFERED)))
        waiting = tasks.create_task(executor.tell(unknown(MAX_BUFFERED)))
        await world.clock.sleep(10)
        assert not waiting.done()
        assert world.completer.fill == 1

        world.store.away = False
        await executor.hear(OutcomeAck, MAX_BUFFERED + 2)
        assert world.completer.fill == 0


@in_virtual_time
async def test_more_outcomes_at_once_than_the_buffer_holds_are_all_stored() -> None:
    world = World()
    executor = await dial(world)
    async with looping(world.completer.run):
        await settle()
        await executor.tell(*map(unknown, range(MAX_BUFFERED + 1)))
        await executor.hear(OutcomeAck, MAX_BUFFERED + 1)
