import dataclasses
import datetime

import pytest
from scheduler_world import World
from stores import CLIENT, SPEC, submit

from devkit.virtual_time import EPOCH, VirtualClock, in_virtual_time
from scheduler.errors import JobNotFound
from scheduler.jobs import Attempt, AttemptOutcome, Job, JobState
from scheduler.recent import SECONDS, RecentJobs

DONE = Job(
    job_id="01990000-0000-7000-8000-000000000001",
    client_id=CLIENT,
    spec=SPEC,
    traceparent="",
    state=JobState.SUCCEEDED,
    create_time=EPOCH,
    attempt=1,
)


def changed(number: int = 1, **changes: object) -> Job:
    return dataclasses.replace(DONE, job_id=f"01990000-0000-7000-8000-{number:012}", **changes)  # type: ignore[arg-type]


def attempt(outcome: AttemptOutcome) -> Attempt:
    return Attempt(
        attempt=1,
        step=1,
        executor_id="e1",
        start_time=EPOCH,
        finish_time=EPOCH + datetime.timedelta(seconds=1),
        outcome=outcome,
        error=None,
        usage=None,
        cost_usd=0.0,
        model_version="",
        stage_seconds={},
    )


@in_virtual_time
async def test_a_job_that_ended_is_kept_for_its_client_alone() -> None:
    recent = RecentJobs(clock=VirtualClock())
    recent.put(DONE, recent.generation)

    assert recent.get(CLIENT, DONE.job_id) == DONE
    assert recent.get("somebody else", DONE.job_id) is None
    assert recent.get(CLIENT, changed(2).job_id) is None


@pytest.mark.parametrize(
    "job",
    [
        changed(state=JobState.RUNNING),
        changed(attempts=(attempt(AttemptOutcome.LOST),)),
        changed(attempts=(attempt(AttemptOutcome.CANCELLED), attempt(AttemptOutcome.SUCCEEDED))),
    ],
)
@in_virtual_time
async def test_a_job_that_may_change_is_not_kept(job: Job) -> None:
    recent = RecentJobs(clock=VirtualClock())

    recent.put(job, recent.generation)

    assert recent.get(CLIENT, job.job_id) is None


@in_virtual_time
async def test_a_job_is_forgotten_after_its_time() -> None:
    clock = VirtualClock()
    recent = RecentJobs(clock=clock)
    recent.put(DONE, recent.generation)

    await clock.sleep(SECONDS - 1)
    assert recent.get(CLIENT, DONE.job_id) == DONE
    await clock.sleep(2)
    assert recent.get(CLIENT, DONE.job_id) is None


@in_virtual_time
async def test_the_oldest_make_room_and_one_that_is_too_large_for_all_is_not_kept() -> None:
    recent = RecentJobs(clock=VirtualClock(), max_bytes=10_000)
    large = changed(9, spec=dataclasses.replace(SPEC, prompt="x" * 20_000))

    for job in (changed(1), changed(2), large, changed(3)):
        recent.put(job, recent.generation)

    assert [recent.get(CLIENT, changed(number).job_id) is not None for number in (1, 2, 3, 9)] == [
        False,
        True,
        True,
        False,
    ]


@in_virtual_time
async def test_reading_a_job_that_ended_again_and_again_asks_the_store_once() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)
    await world.store.cancel(CLIENT, [job_id])

    first = await world.read.job(CLIENT, job_id, attempts=True)
    asked = world.store.calls.total()
    again = [await world.read.job(CLIENT, job_id.upper(), attempts=attempts) for attempts in (True, False)]

    assert world.store.calls.total() == asked
    assert again == [first, first]
    with pytest.raises(JobNotFound):
        await world.read.job("somebody else", job_id, attempts=True)


@in_virtual_time
async def test_a_job_that_has_not_ended_is_read_each_time() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    before = await world.read.job(CLIENT, job_id, attempts=True)
    await world.store.cancel(CLIENT, [job_id])
    after = await world.read.job(CLIENT, job_id, attempts=True)

    assert (before.state, after.state) == (JobState.QUEUED, JobState.CANCELLED)
