"""Jobs that ended at their second step are done again from there: what the first one gave is paid for."""

from typing import Any

import pytest
from scheduler_peers import TRACEPARENT, Executor, dial, failed, submission, succeeded
from scheduler_world import SECOND_LANE, SECOND_MODEL, World, looping
from stores import CLIENT

from devkit.virtual_time import in_virtual_time
from scheduler.drafts import PostProcessDraft
from scheduler.errors import ImagesGone
from scheduler.fleet import Assignment, OutcomeAck
from scheduler.jobs import JobState
from scheduler.records import JobQuery

SECOND = PostProcessDraft(model=SECOND_MODEL, prompt="Sum it up.", schema_json='{"type": "object"}')
LANES = ("gemini/*", "deepseek/*")


async def ended_at_second_step(world: World, executor: Executor, *, well: bool = False, followers: int = 0) -> str:
    """Return the job that was called; whatever became of it became of its followers."""
    alike = [submission(post_process=SECOND) for _ in range(1 + followers)]
    [(job_id, _), *_] = await world.submit.jobs(CLIENT, alike)
    await executor.offer(1)
    [first] = await executor.receive()
    await executor.tell(succeeded(first, output_json='{"paid":1}', step=1, steps=2))
    await executor.offer(1)
    [second] = await executor.receive()
    end: dict[str, Any] = {"step": 2, "steps": 2}
    await executor.tell(succeeded(second, **end) if well else failed(second, "BLOCKED", retryable=False, **end))
    await executor.hear(OutcomeAck, 2)
    return job_id


async def again(world: World, job_id: str) -> Any:
    new_id, _ = await world.again.job(CLIENT, job_id, request_id="", traceparent=TRACEPARENT)
    return await world.see(new_id)


@in_virtual_time
async def test_it_begins_at_the_second_step_with_what_the_first_gave_and_needs_no_images() -> None:
    world = World()
    executor = await dial(world, lanes=LANES)
    async with looping(world.dispatcher.run, world.completer.run):
        job_id = await ended_at_second_step(world, executor)
        world.store._images.clear()
        world.images.clear()

        job = await again(world, job_id)
        await executor.offer(1)
        assignment = (await executor.hear(Assignment))[-1]

    assert world.store.calls["get_images"] == 0
    assert (job.state, job.step, job.lane, job.retried_from) == (JobState.QUEUED, 2, SECOND_LANE, job_id)
    assert (assignment.job.attempt_id.job_id, assignment.input_json) == (job.job_id, '{"paid":1}')


@in_virtual_time
async def test_by_a_filter_too() -> None:
    world = World()
    executor = await dial(world, lanes=LANES)
    async with looping(world.dispatcher.run, world.completer.run):
        await ended_at_second_step(world, executor)
        world.store._images.clear()
    query = JobQuery(labels={}, user_id="user")

    assert await world.again.jobs(CLIENT, query, dry_run=True, traceparent=TRACEPARENT) == 1
    assert await world.again.jobs(CLIENT, query, dry_run=False, traceparent=TRACEPARENT) == 1


@in_virtual_time
async def test_the_answer_says_where_it_begins() -> None:
    world = World()
    executor = await dial(world, lanes=LANES)
    async with looping(world.dispatcher.run, world.completer.run):
        job_id = await ended_at_second_step(world, executor)

    _, job = await world.again.job(CLIENT, job_id, request_id="", traceparent=TRACEPARENT)

    assert job is not None
    assert (job.step, job.lane) == (2, SECOND_LANE)


@in_virtual_time
async def test_one_that_only_followed_to_the_end_begins_at_the_first_and_bars_no_other() -> None:
    world = World()
    executor = await dial(world, lanes=LANES)
    async with looping(world.dispatcher.run, world.completer.run):
        leader = await ended_at_second_step(world, executor, followers=1)
    query = JobQuery(labels={}, user_id="user")
    ids = await anext(world.read.ids(CLIENT, query, frozenset({JobState.FAILED})))
    [follower] = set(ids) - {leader}

    assert (await again(world, follower)).step == 1
    world.store._images.clear()
    with pytest.raises(ImagesGone):
        await again(world, follower)
    assert await world.again.jobs(CLIENT, query, dry_run=True, traceparent=TRACEPARENT) == 1
    assert await world.again.jobs(CLIENT, query, dry_run=False, traceparent=TRACEPARENT) == 1


@in_virtual_time
async def test_a_whole_success_is_repeated_from_its_beginning() -> None:
    world = World()
    executor = await dial(world, lanes=LANES)
    async with looping(world.dispatcher.run, world.completer.run):
        job_id = await ended_at_second_step(world, executor, well=True)

    assert (await again(world, job_id)).step == 1
    world.store._images.clear()
    with pytest.raises(ImagesGone):
        await again(world, job_id)
