"""What a caller's key allows: how urgent, how fast, how many."""

import asyncio
import datetime

import pytest
from scheduler_peers import PNG, TRACEPARENT, dial, failed, submission
from scheduler_world import World, looping
from stores import CLIENT

from devkit.virtual_time import in_virtual_time
from scheduler.callers import SubmissionLimits
from scheduler.errors import InvalidRequest, PriorityNotAllowed, QueueFull, RateLimited
from scheduler.fleet import OutcomeAck
from scheduler.records import JobQuery
from scheduler.submit import Submission

ONE_A_SECOND = SubmissionLimits(per_second=1)


async def submit(world: World, *submissions: Submission, limits: SubmissionLimits) -> list[str]:
    return [job_id for job_id, _ in await world.submit.jobs(CLIENT, submissions, limits=limits)]


async def stored(world: World) -> int:
    return len(await world.store.list_ids(CLIENT, JobQuery(labels={}), before=None, limit=5_000))


async def fail_all(world: World, count: int) -> None:
    executor = await dial(world, slots=count)
    async with looping(world.dispatcher.run, world.completer.run):
        attempts = await executor.receive(count)
        await executor.tell(*(failed(attempt, "BLOCKED", retryable=False) for attempt in attempts))
        await executor.hear(OutcomeAck, count)


@in_virtual_time
async def test_a_priority_more_urgent_than_the_key_allows_is_refused_with_its_path() -> None:
    world = World()
    limits = SubmissionLimits(max_priority=2)

    with pytest.raises(PriorityNotAllowed) as refusal:
        await submit(
            world,
            submission(path="requests[0]", priority=2),
            submission(path="requests[1]", priority=1),
            limits=limits,
        )

    assert (refusal.value.path, refusal.value.priority, refusal.value.allowed) == ("requests[1].spec.priority", 1, 2)
    assert await stored(world) == 0
    with pytest.raises(PriorityNotAllowed) as single:
        await submit(world, submission(priority=1), limits=limits)
    assert single.value.path == "spec.priority"


@pytest.mark.parametrize(("allowed", "given"), [(None, 2), (1, 2), (2, 2), (3, 3)])
@in_virtual_time
async def test_a_job_that_names_no_priority_gets_what_its_key_allows(allowed: int | None, given: int) -> None:
    world = World()

    [job_id] = await submit(world, submission(), limits=SubmissionLimits(max_priority=allowed))

    assert (await world.see(job_id)).spec.priority == given


@in_virtual_time
async def test_who_submits_too_fast_is_told_when_to_come_again() -> None:
    world = World()
    await submit(world, submission(), submission(), submission(), limits=ONE_A_SECOND)

    with pytest.raises(RateLimited) as refusal:
        await submit(world, submission(), limits=ONE_A_SECOND)

    assert refusal.value.per_second == 1
    assert datetime.timedelta(seconds=1.9) < refusal.value.retry_after <= datetime.timedelta(seconds=2)
    assert await stored(world) == 3
    await world.clock.sleep(refusal.value.retry_after.total_seconds())
    await submit(world, submission(), limits=ONE_A_SECOND)


@in_virtual_time
async def test_what_is_refused_as_invalid_or_too_urgent_costs_no_rate() -> None:
    world = World()
    limits = SubmissionLimits(per_second=1, max_priority=2)
    for _ in range(5):
        with pytest.raises(InvalidRequest):
            await submit(world, *[submission()] * 9, submission(prompt=" "), limits=limits)
        with pytest.raises(PriorityNotAllowed):
            await submit(world, *[submission()] * 9, submission(priority=1), limits=limits)

    await submit(world, submission(), limits=limits)


@in_virtual_time
async def test_uploads_are_not_paced() -> None:
    world = World()
    await submit(world, *[submission()] * 100, limits=ONE_A_SECOND)

    await world.submit.image(CLIENT, PNG, "image/png")


@in_virtual_time
async def test_a_full_queue_is_told_with_what_it_holds() -> None:
    world = World()
    limits = SubmissionLimits(max_queued=2)
    await submit(world, submission(), submission(), limits=limits)

    with pytest.raises(QueueFull) as refusal:
        await submit(world, submission(prompt="Another?"), limits=limits)

    assert (refusal.value.limit, refusal.value.queued) == (2, 2)
    assert await stored(world) == 2


@in_virtual_time
async def test_a_job_done_again_keeps_to_the_limits_too() -> None:
    world = World()
    [job_id] = await submit(world, submission(priority=1), limits=SubmissionLimits())
    await fail_all(world, 1)

    async def again(limits: SubmissionLimits) -> str:
        new_id, _ = await world.again.job(CLIENT, job_id, request_id="", traceparent=TRACEPARENT, limits=limits)
        return new_id

    with pytest.raises(PriorityNotAllowed):
        await again(SubmissionLimits(max_priority=3))
    await submit(world, *[submission()] * 10, limits=ONE_A_SECOND)
    with pytest.raises(RateLimited):
        await again(ONE_A_SECOND)
    await submit(world, submission(), limits=SubmissionLimits(max_queued=1))
    with pytest.raises(QueueFull):
        await again(SubmissionLimits(max_queued=1))
    assert await again(SubmissionLimits(max_priority=1))


@in_virtual_time
async def test_a_bulk_retry_that_a_limit_ends_goes_on_where_it_stopped() -> None:
    world = World()
    await submit(world, *[submission(prompt=f"Number {number}?") for number in range(5)], limits=SubmissionLimits())
    await fail_all(world, 5)
    query = JobQuery(labels={}, user_id="user")

    async def retry(limits: SubmissionLimits) -> int:
        return await world.again.jobs(CLIENT, query, dry_run=False, traceparent=TRACEPARENT, limits=limits)

    # The first two fit, then the queue is full.
    with pytest.raises(QueueFull):
        await retry(SubmissionLimits(max_queued=2))
    assert await stored(world) == 7

    assert await retry(SubmissionLimits(max_queued=6, per_second=1)) == 3
    # Nothing is new, so nothing is paid for.
    assert await retry(ONE_A_SECOND) == 0


@pytest.mark.parametrize(("size", "at_once"), [(51, 2), (50, 6)])
@in_virtual_time
async def test_large_batches_go_two_at_a_time_and_others_at_once(size: int, at_once: int) -> None:
    world = World()
    inside, most = 0, 0

    async def store_slowly() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await world.clock.sleep(1)
        inside -= 1

    world.store.before["insert_jobs"] = store_slowly
    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(submit(world, *[submission()] * size, limits=SubmissionLimits()))

    assert most == at_once
    assert await stored(world) == 6 * size
