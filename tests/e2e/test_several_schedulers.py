"""Two schedulers on one database are one queue."""

import asyncio
from collections.abc import Callable

from fleet_calls import Fleet, called, finished, sha256, succeeded, until

from visionjobs import JobSpec, JobStage, JobState

# Served by the second scheduler's executor alone.
MODEL = "gemini-3.1-flash-lite"


async def test_fifty_identical_requests_at_once_over_two_schedulers_are_one_job(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    spec = request_for("Fifty times?", model=MODEL)

    async with asyncio.TaskGroup() as tasks:
        submissions = [
            tasks.create_task(fleet.clients[number % 2].submit(spec, request_id="fifty")) for number in range(50)
        ]

    ids = {task.result().job_id for task in submissions}
    assert len(ids) == 1
    assert succeeded(await finished(fleet.clients[0], ids))
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 1


async def test_a_watch_on_one_scheduler_follows_a_job_that_another_one_dispatched(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, _ = fleet.clients
    await fleet.emulator.script("hold", model=MODEL)
    job = await first.submit(request_for("Seen from afar?", model=MODEL))

    running = await until(first, job.job_id, lambda change: change.stage is JobStage.GEMINI_ANALYZING)
    assert running.state is JobState.RUNNING
    await fleet.emulator.release()

    done = await until(first, job.job_id, lambda change: change.state.is_final)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert done.executor_id == running.executor_id != ""


async def test_a_cancel_through_one_scheduler_stops_a_call_of_anothers_executor(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    await fleet.emulator.script("hold", model=MODEL)
    specs = [request_for(f"Stopped? {number}", model=MODEL) for number in range(4)]
    jobs = [await second.submit(spec) for spec in specs]
    # All slots of the only executor are taken, by calls that are not answered.
    for job in jobs[:3]:
        await called(fleet, job)

    cancelled = await first.cancel(jobs[0].job_id)

    assert cancelled.state is JobState.CANCELLED
    # Its slot is free: the fourth job's call begins while the others are still held.
    await called(fleet, jobs[3])
    assert [call["status"] for call in await fleet.emulator.calls(prompt=specs[1].prompt)] == [None]
    await fleet.emulator.release()
    done = await finished(first, [job.job_id for job in jobs])
    assert [job.state for job in done] == [JobState.CANCELLED, *[JobState.SUCCEEDED] * 3]
    prompts = [call["prompt_sha256"] for spec in specs for call in await fleet.emulator.calls(prompt=spec.prompt)]
    assert prompts == [sha256(spec.prompt) for spec in specs]


async def test_whoever_submits_reads_and_cancels_may_use_any_scheduler(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    await first.pause_lane(f"gemini/{MODEL}")
    try:
        job = await first.submit(request_for("Anywhere?", model=MODEL))

        assert (await second.get(job.job_id)).state is JobState.QUEUED
        assert (await second.cancel(job.job_id)).state is JobState.CANCELLED
        assert (await until(first, job.job_id, lambda change: change.state.is_final)).state is JobState.CANCELLED
    finally:
        await second.resume_lane(f"gemini/{MODEL}")
