import datetime

import pytest
from scheduler_peers import TRACEPARENT, dial, failed, submission
from scheduler_world import World, looping
from stores import CLIENT

from devkit.virtual_time import in_virtual_time
from scheduler.errors import (
    ImagesGone,
    InvalidRequest,
    JobIsNotFinal,
    JobNotFound,
    NotAccepting,
    RequestIdReused,
    Stopping,
)
from scheduler.fleet import OutcomeAck
from scheduler.jobs import JobState
from scheduler.records import JobQuery

USERS = JobQuery(labels={}, user_id="user")


async def submitted(world: World, **changes: object) -> str:
    [(job_id, _)] = await world.submit.jobs(CLIENT, [submission(**changes)])  # type: ignore[arg-type]
    return job_id


async def end_all(world: World, count: int) -> None:
    """Let jobs fail for good."""
    executor = await dial(world, slots=count)
    async with looping(world.dispatcher.run, world.completer.run):
        attempts = await executor.receive(count)
        await executor.tell(*(failed(attempt, "BLOCKED", retryable=False) for attempt in attempts))
        await executor.hear(OutcomeAck, count)


async def again(world: World, job_id: str, request_id: str = "") -> str:
    new_id, _ = await world.again.job(CLIENT, job_id, request_id=request_id, traceparent=TRACEPARENT)
    return new_id


async def all_jobs(world: World) -> list[str]:
    return list(await world.store.list_ids(CLIENT, JobQuery(labels={}), before=None, limit=1_000))


@in_virtual_time
async def test_a_job_is_done_again_as_a_new_job_that_names_the_one_it_repeats() -> None:
    world = World()
    now = world.clock.now()
    first = await submitted(
        world,
        labels={"a": "b"},
        schedule_time=now + datetime.timedelta(seconds=1),
        expire_time=now + datetime.timedelta(hours=1),
    )
    await world.clock.sleep(2)
    await end_all(world, 1)

    new_id, job = await world.again.job(CLIENT, first, request_id="", traceparent=TRACEPARENT)

    assert new_id != first
    assert job == await world.see(new_id)
    assert (job.state, job.retried_from, job.retry_count) == (JobState.QUEUED, first, 0)
    assert (job.spec.labels, job.spec.prompt) == ({"a": "b"}, "What is this?")
    # The times of the first one are over.
    assert (job.spec.schedule_time, job.spec.expire_time) == (None, None)
    assert (await world.see(first)).state is JobState.FAILED


@in_virtual_time
async def test_the_new_job_is_dispatched_at_once() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)
    executor = await dial(world, "e2", slots=1)
    async with looping(world.dispatcher.run):
        new_id = await again(world, first)
        [attempt] = await executor.receive()

    assert attempt.job_id == new_id
    assert world.clock.monotonic() < 0.1


@in_virtual_time
async def test_the_same_request_id_makes_one_job() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)

    new_id, job = await world.again.job(CLIENT, first, request_id="r", traceparent=TRACEPARENT)
    same_id, known = await world.again.job(CLIENT, first, request_id="r", traceparent=TRACEPARENT)

    assert (same_id, known) == (new_id, None)
    assert job is not None
    assert len(await all_jobs(world)) == 2


@in_virtual_time
async def test_a_request_id_belongs_to_the_job_that_is_done_again() -> None:
    world = World()
    first, second = await submitted(world, request_id="r"), await submitted(world, cache=3)
    await end_all(world, 2)
    await again(world, first, "s")

    # Alike as they are, these are other submissions.
    for job_id, request_id in ((second, "s"), (first, "r")):
        with pytest.raises(RequestIdReused):
            await again(world, job_id, request_id)

    assert len(await all_jobs(world)) == 3


@in_virtual_time
async def test_a_job_that_has_not_ended_cannot_be_done_again() -> None:
    world = World()
    first = await submitted(world)

    with pytest.raises(JobIsNotFinal) as refusal:
        await again(world, first)

    assert refusal.value.state is JobState.QUEUED


@in_virtual_time
async def test_a_job_whose_images_are_gone_cannot_be_done_again() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)
    world.store._images.clear()

    with pytest.raises(ImagesGone):
        await again(world, first)
    assert await world.again.jobs(CLIENT, USERS, dry_run=False, traceparent=TRACEPARENT) == 0

    assert await all_jobs(world) == [first]


@in_virtual_time
async def test_another_clients_job_does_not_exist() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)

    with pytest.raises(JobNotFound):
        await world.again.job("somebody else", first, request_id="", traceparent=TRACEPARENT)


@in_virtual_time
async def test_a_bad_request_id_is_refused_with_its_path() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)

    with pytest.raises(InvalidRequest) as refusal:
        await again(world, first, "r" * 129)

    assert [violation.path for violation in refusal.value.violations] == ["request_id"]


@in_virtual_time
async def test_nothing_is_done_again_while_no_submissions_are_taken() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)

    await world.operate.set_accepting(accepting=False)
    with pytest.raises(NotAccepting):
        await again(world, first)
    world.submit.stop()
    with pytest.raises(Stopping):
        await again(world, first)

    assert await all_jobs(world) == [first]


@in_virtual_time
async def test_failed_jobs_are_done_again_once_however_often_it_is_asked() -> None:
    world = World()
    failed_ones = {await submitted(world, cache=3) for _ in range(3)}
    await end_all(world, 3)
    cancelled = await submitted(world)
    await world.cancel.job(CLIENT, cancelled)

    counts = [await world.again.jobs(CLIENT, USERS, dry_run=False, traceparent=TRACEPARENT) for _ in range(2)]

    new = [await world.see(job_id) for job_id in await all_jobs(world) if job_id not in {*failed_ones, cancelled}]
    assert counts == [3, 0]
    assert len(new) == 3
    assert {job.retried_from for job in new} == failed_ones


@in_virtual_time
async def test_a_dry_run_counts_and_does_nothing() -> None:
    world = World()
    first = await submitted(world)
    await end_all(world, 1)

    assert await world.again.jobs(CLIENT, USERS, dry_run=True, traceparent=TRACEPARENT) == 1

    assert await all_jobs(world) == [first]


@in_virtual_time
async def test_cancelled_jobs_are_done_again_where_they_are_asked_for() -> None:
    world = World()
    cancelled = await submitted(world)
    await world.cancel.job(CLIENT, cancelled)
    query = JobQuery(labels={}, states=frozenset({JobState.CANCELLED, JobState.QUEUED}))

    assert await world.again.jobs(CLIENT, query, dry_run=False, traceparent=TRACEPARENT) == 1

    [new_id] = set(await all_jobs(world)) - {cancelled}
    assert (await world.see(new_id)).retried_from == cancelled


@in_virtual_time
async def test_jobs_that_have_not_ended_are_never_done_again_in_bulk() -> None:
    world = World()
    await submitted(world)
    query = JobQuery(labels={}, states=frozenset({JobState.QUEUED}))

    assert await world.again.jobs(CLIENT, query, dry_run=False, traceparent=TRACEPARENT) == 0


@in_virtual_time
async def test_a_filter_without_a_condition_is_refused() -> None:
    world = World()
    for dry_run in (True, False):
        with pytest.raises(InvalidRequest) as refusal:
            await world.again.jobs(CLIENT, JobQuery(labels={}), dry_run=dry_run, traceparent=TRACEPARENT)
        assert [violation.path for violation in refusal.value.violations] == ["filter"]
