from collections.abc import Sequence

from scheduler_peers import Executor, dial, failed, released, succeeded
from scheduler_world import World, looping, settle
from stores import CLIENT, insert, new_job, submit

from devkit.virtual_time import in_virtual_time
from policies.quota import Limits
from scheduler.fleet import Assignment, OutcomeAck, Stop
from scheduler.jobs import AttemptOutcome, JobState, Stage, Usage
from scheduler.records import AttemptId, Ended, FinalRecord


async def holding(world: World, count: int = 1) -> tuple[Executor, list[AttemptId]]:
    """Return an executor that runs so many attempts."""
    executor = await dial(world, slots=count)
    await submit(world.store, world.clock, *[2] * count)
    async with looping(world.dispatcher.run):
        return executor, await executor.receive(count)


def acknowledged(items: Sequence[OutcomeAck]) -> list[AttemptId]:
    return [item.attempt_id for item in items]


@in_virtual_time
async def test_an_outcome_is_acknowledged_after_it_is_stored() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.before["finish"] = lambda: world.clock.sleep(1)
    async with looping(world.completer.run):
        await executor.tell(succeeded(attempt))
        assert await executor.has_heard(OutcomeAck) == []
        assert acknowledged(await executor.hear(OutcomeAck)) == [attempt]

    assert (await world.see(attempt.job_id)).state is JobState.SUCCEEDED


@in_virtual_time
async def test_an_outcome_that_several_streams_told_is_stored_once_and_acknowledged_to_each() -> None:
    world = World()
    first, [attempt] = await holding(world)
    second, third = await dial(world, "e2"), await dial(world, "e3")
    world.store.before["finish"] = lambda: world.clock.sleep(1)
    async with looping(world.completer.run):
        await first.tell(succeeded(attempt))
        await settle()
        # While it is being stored, and twice by the same stream.
        await second.tell(succeeded(attempt))
        await second.tell(succeeded(attempt))
        await third.tell(succeeded(attempt))
        for executor in (first, second, third):
            assert acknowledged(await executor.hear(OutcomeAck)) == [attempt]
        await world.clock.sleep(5)
        assert await second.has_heard(OutcomeAck) == []

    assert world.store.calls["finish"] == 1


@in_virtual_time
async def test_an_outcome_that_was_stored_before_is_acknowledged_again() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    async with looping(world.completer.run):
        for told in (succeeded(attempt), succeeded(attempt, output_json="{}"), failed(attempt), released(attempt)):
            await executor.tell(told)
            assert acknowledged(await executor.hear(OutcomeAck)) == [attempt]

    done = await world.see(attempt.job_id)
    assert done.result is not None
    assert done.result.output_json == '{"a":1}'


@in_virtual_time
async def test_two_outcomes_of_one_job_are_written_one_after_the_other() -> None:
    world = World()
    executor, [first] = await holding(world)
    async with looping(world.completer.run):
        await executor.tell(released(first))
        await executor.hear(OutcomeAck)
    await executor.offer(1)
    async with looping(world.dispatcher.run):
        [second] = await executor.receive()
    finish = world.store.finish

    sizes: list[int] = []

    async def count(finals: Sequence[FinalRecord]) -> Ended:
        sizes.append(len(finals))
        return await finish(finals)

    world.store.finish = count  # type: ignore[method-assign]
    async with looping(world.completer.run):
        # The late success is told together with what supersedes it.
        await executor.tell(succeeded(first), failed(second, "BAD_REQUEST", retryable=False))
        await executor.hear(OutcomeAck, 2)

    # The second one saw what the first one did; no call of the store may name a job twice.
    assert sizes == [1]
    job = await world.see(first.job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


@in_virtual_time
async def test_a_late_success_stops_the_attempt_that_runs_in_its_place() -> None:
    world = World()
    executor, [first] = await holding(world)
    async with looping(world.completer.run):
        await executor.tell(released(first))
        await executor.hear(OutcomeAck)
    other = await dial(world, "e2", slots=1)
    async with looping(world.dispatcher.run):
        [second] = await other.receive()
    async with looping(world.completer.run):
        await executor.tell(succeeded(first))
        [stop] = await other.hear(Stop)

    assert stop.attempt_id == second


@in_virtual_time
async def test_what_a_cancelled_attempt_cost_is_noted_when_it_comes_late() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await world.store.cancel(CLIENT, [attempt.job_id])
    async with looping(world.completer.run):
        await executor.tell(succeeded(attempt, usage=Usage(input_tokens=1_000_000)))
        await executor.hear(OutcomeAck)

    job = await world.see(attempt.job_id)
    assert job.state is JobState.CANCELLED
    assert job.attempts[0].cost_usd > 0.5


@in_virtual_time
async def test_what_was_counted_of_a_call_that_is_not_paid_is_noted_too() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await world.store.cancel(CLIENT, [attempt.job_id])
    async with looping(world.completer.run):
        await executor.tell(failed(attempt, usage=Usage(input_tokens=1_000_000)))
        await executor.hear(OutcomeAck)

    assert (await world.see(attempt.job_id)).attempts[0].cost_usd > 0.5


@in_virtual_time
async def test_a_failure_that_cost_nothing_and_came_late_is_not_noted() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await world.store.cancel(CLIENT, [attempt.job_id])
    async with looping(world.completer.run):
        await executor.tell(failed(attempt))
        await executor.hear(OutcomeAck)

    assert (await world.see(attempt.job_id)).attempts[0].outcome is AttemptOutcome.CANCELLED


@in_virtual_time
async def test_a_retry_is_dispatched_when_its_backoff_is_over() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await executor.offer(1)
    async with looping(world.completer.run, world.dispatcher.run):
        await executor.tell(failed(attempt))
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.attempt_id.attempt == 2
    assert 1.0 <= world.clock.monotonic() < 1.1
    assert (await world.see(attempt.job_id)).retry_count == 1


@in_virtual_time
async def test_what_comes_back_is_dealt_at_once() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    async with looping(world.completer.run, world.dispatcher.run):
        other = await dial(world, "e2", slots=1)
        await settle()
        await executor.tell(released(attempt))
        await other.hear(Assignment)

    assert world.clock.monotonic() < 0.1


@in_virtual_time
async def test_the_end_of_an_attempt_lets_the_next_one_begin_in_a_lane_that_bounds_them() -> None:
    world = World()
    await world.set_lane(limits=Limits(max_in_flight=1))
    executor = await dial(world, slots=3)
    await submit(world.store, world.clock, 2, 2)
    async with looping(world.completer.run, world.dispatcher.run):
        [first] = await executor.receive()
        await settle()
        await executor.tell(succeeded(first))
        await executor.hear(Assignment)

    assert world.clock.monotonic() < 0.1


@in_virtual_time
async def test_a_follower_that_takes_the_place_of_its_leader_is_dealt_at_once() -> None:
    world = World()
    executor = await dial(world, slots=1)
    leader, follower = await insert(
        world.store, CLIENT, [new_job(world.clock, dedup_key=b"same", max_retries=0) for _ in range(2)]
    )
    async with looping(world.completer.run, world.dispatcher.run):
        [attempt] = await executor.receive()
        assert attempt.job_id == leader
        await executor.offer(1)
        await settle()
        await executor.tell(failed(attempt))
        [second] = await executor.receive()

    assert second.job_id == follower
    assert world.clock.monotonic() < 0.1


@in_virtual_time
async def test_lost_attempts_wait_again_unless_their_executor_came_back_for_them() -> None:
    world = World()
    executor, attempts = await holding(world, 2)
    lost = await world.store.running_on("e1", executor.session.number)
    back = await dial(world, held=[attempts[0]])

    await world.completer.lose(lost, "Its executor was lost.")

    kept, returned = [await world.see(attempt.job_id) for attempt in attempts]
    assert (kept.state, kept.attempts) == (JobState.RUNNING, ())
    assert returned.state is JobState.QUEUED
    assert attempts[0] in back.session.held


@in_virtual_time
async def test_flush_waits_for_all_that_came_in() -> None:
    world = World()
    executor, attempts = await holding(world, 2)
    world.store.before["finish"] = lambda: world.clock.sleep(1)
    async with looping(world.completer.run):
        await executor.tell(succeeded(attempts[0]))
        await settle()
        await executor.tell(succeeded(attempts[1]))
        await world.completer.flush()

    assert acknowledged(await executor.has_heard(OutcomeAck)) == attempts


@in_virtual_time
async def test_the_stage_of_an_attempt_that_ended_is_not_written_any_more() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    async with looping(world.completer.run, world.stages.run):
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        await executor.tell(succeeded(attempt))
        await world.clock.sleep(1)

    assert world.store.calls["note_stages"] == 0
