"""What dies, hangs or loses its scheduler takes no job with it, and pays for nothing that was given to others."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from fleet_calls import Emulator, Fleet, called, came_back, connected_to, finished, fleet_of, sha256, succeeded, until
from system_calls import StartStack

from devkit.programs import Program, logged
from visionjobs import JobSpec, JobState


@pytest.fixture(scope="module")
async def schedulers(start_stack: StartStack) -> AsyncIterator[Fleet]:
    """Two schedulers, and no executor yet."""
    environment = {"SCHEDULER_HEARTBEAT_SECONDS": "0.5", "SCHEDULER_EXECUTOR_LOST_SECONDS": "4"}
    async with start_stack(schedulers=2, executors=0, environment=environment) as system:
        await system.choose_provider()
        async with fleet_of(system) as fleet:
            yield fleet


@contextlib.asynccontextmanager
async def executors(fleet: Fleet, count: int, **environment: str) -> AsyncIterator[list[Program]]:
    """Run executors that have a scheduler, and end them after the block."""
    started = [await fleet.stack.start_executor(environment=environment) for _ in range(count)]
    try:
        for executor in started:
            await connected_to(executor)
        yield started
    finally:
        await fleet.emulator.reset()
        for executor in started:
            executor.kill()
            await executor.wait()


async def executor_of(running: Sequence[Program], executor_id: str) -> Program:
    for executor in running:
        if await executor.ready(logged("executor_started", "executor_id")) == executor_id:
            return executor
    raise AssertionError(f"no executor is {executor_id}")


async def calls_of(emulator: Emulator, specs: Sequence[JobSpec]) -> list[dict[str, Any]]:
    """Return the calls for some jobs, oldest first."""
    calls = [call for spec in specs for call in await emulator.calls(prompt=spec.prompt)]
    return sorted(calls, key=lambda call: int(call["number"]))


async def test_the_job_of_a_killed_executor_is_done_by_another_at_its_old_place_and_uncharged(
    schedulers: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    client, emulator = schedulers.clients[0], schedulers.emulator
    specs = [request_for(f"Killed? {number}") for number in range(4)]
    async with executors(schedulers, 2, EXECUTOR_CAPACITY="1") as running:
        await emulator.script("hold")
        lost, survivor, *behind = [await client.submit(spec) for spec in specs]
        await called(schedulers, lost)
        await called(schedulers, survivor)

        (await executor_of(running, (await client.get(lost.job_id)).executor_id)).kill()
        queued = await until(client, lost.job_id, lambda job: job.state is JobState.QUEUED)
        await emulator.release()
        done = await finished(client, [job.job_id for job in (lost, survivor, *behind)])

    assert queued.retry_count == 0
    assert succeeded(done)
    assert [(job.attempt, job.retry_count) for job in done] == [(2, 0), (1, 0), (1, 0), (1, 0)]
    assert [attempt.outcome for attempt in done[0].attempts] == ["LOST", "SUCCEEDED"]
    assert done[0].executor_id == done[1].executor_id
    # Before those that were submitted after it.
    again = [sha256(specs[number].prompt) for number in (0, 2, 3)]
    assert [call["prompt_sha256"] for call in (await calls_of(emulator, specs))[2:]] == again


async def test_an_executor_that_was_frozen_starts_no_call_that_others_have_got_meanwhile(
    schedulers: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    client, emulator = schedulers.clients[0], schedulers.emulator
    specs = [request_for(f"Frozen? {number}") for number in range(4)]
    async with executors(schedulers, 1) as [frozen]:
        session = await frozen.ready(logged("scheduler_connected", "session"))
        frozen.freeze()
        jobs = [await client.submit(spec) for spec in specs[:3]]
        for job in jobs:
            await until(client, job.job_id, lambda now: now.state is JobState.RUNNING)

        await emulator.script("hold")
        async with executors(schedulers, 1):
            # The others are lost too, but wait: what an executor was lost with is tried one by one.
            assert (await called(schedulers, jobs[0])).attempt == 2
            frozen.thaw()
            await came_back(frozen, first_session=session)
            await emulator.release()
            # What the frozen one had in its ears it has heard by now.
            jobs.append(await client.submit(specs[3]))
            done = await finished(client, [job.job_id for job in jobs])

    assert succeeded(done)
    assert [job.retry_count for job in done] == [0] * 4
    # What nobody has got yet it may take back.
    assert [attempt.outcome for attempt in done[0].attempts] == ["LOST", "SUCCEEDED"]
    assert all(job.attempts[-1].outcome == "SUCCEEDED" for job in done)
    calls = await calls_of(emulator, specs)
    assert {call["prompt_sha256"] for call in calls} == {sha256(spec.prompt) for spec in specs}
    assert [call["billed"] for call in calls] == [True] * 4


async def test_an_executor_whose_scheduler_dies_finds_another_and_keeps_its_job(
    schedulers: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    emulator, stack = schedulers.emulator, schedulers.stack
    spec = request_for("Without a scheduler?")
    async with executors(schedulers, 1) as [executor]:
        address = await connected_to(executor)
        [survivor] = [client for client in schedulers.clients if client.address != address]
        [dying] = [scheduler for scheduler in stack.schedulers if scheduler.address == address]
        await emulator.script("hold")
        job = await survivor.submit(spec)
        await emulator.calls(prompt=spec.prompt, count=1)

        dying.kill()
        await dying.wait()
        try:
            assert await connected_to(executor, other_than=address) == survivor.address
            await emulator.release()
            [done] = await finished(survivor, [job.job_id])
        finally:
            await stack.start_scheduler(grpc_address=address)

    assert succeeded([done])
    assert (done.attempt, done.retry_count) == (1, 0)
    assert [attempt.outcome for attempt in done.attempts] == ["SUCCEEDED"]
    assert [call["billed"] for call in await calls_of(emulator, [spec])] == [True]
