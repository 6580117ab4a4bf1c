"""A provider that fails is left alone by the whole fleet, then asked with a single call."""

import asyncio
import datetime
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from fleet_calls import PATIENCE_SECONDS, Fleet, finished, lane_where, succeeded, time_of, waits
from google.rpc import error_details_pb2
from system_calls import details

from visionjobs import AsyncClient, BreakerState, Job, JobSpec, JobState, Lane, WaitReason
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

MODEL = "gemini-3.6-flash"
LANE = f"gemini/{MODEL}"
FAILURES = 5


async def opened(fleet: Fleet, specs: Iterable[JobSpec]) -> tuple[list[Job], Lane]:
    """Submit jobs whose calls fail until the breaker opens."""
    await fleet.emulator.script("503", model=MODEL, count=FAILURES)
    # In one batch: a retry must not come before the last first attempt.
    jobs = list(await fleet.clients[0].submit_many(list(specs)))
    lane = await lane_where(fleet.clients[0], LANE, lambda lane: lane.breaker_state is not BreakerState.CLOSED)
    return jobs, lane


async def test_failures_in_a_row_open_it_one_probe_is_made_and_its_success_closes_it(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    before = len(await fleet.emulator.calls(model=MODEL))
    # The first call after the failures is the probe; its answer waits for the test.
    failing = [request_for(f"Failing? {number}", model=MODEL) for number in range(FAILURES)]
    jobs, lane = await opened(fleet, failing)
    await fleet.emulator.script("hold", model=MODEL)
    late = await second.submit(request_for("Late?", model=MODEL))

    waiting = await waits(first, late.job_id, WaitReason.CIRCUIT_BREAKER)
    assert waiting.wait is not None
    assert f"{FAILURES} calls in a row failed" in waiting.wait.message
    assert waiting.retry_count == 0
    await fleet.emulator.calls(model=MODEL, count=before + FAILURES + 1)
    for job in (*jobs, late):
        await waits_for_the_probe(second, job)
    calls = (await fleet.emulator.calls(model=MODEL))[before:]
    assert [call["status"] for call in calls] == [*[503] * FAILURES, None]
    assert lane.breaker_open_until_time is not None
    assert time_of(calls[-1]["time"]) >= lane.breaker_open_until_time
    await fleet.emulator.release()

    done = await finished(first, [*(job.job_id for job in jobs), late.job_id])
    assert succeeded(done)
    assert [job.retry_count for job in done] == [*[1] * FAILURES, 0]
    for client in fleet.clients:
        closed = await lane_where(client, LANE, lambda lane: lane.breaker_state is BreakerState.CLOSED)
        assert closed.breaker_failures == 0


async def waits_for_the_probe(client: AsyncClient, job: Job) -> None:
    """Wait until a job waits for the breaker, or is the one that is tried."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (now := await client.get(job.job_id)).state is not JobState.RUNNING:
            if now.wait is not None and now.wait.reason is WaitReason.CIRCUIT_BREAKER:
                return
            await asyncio.sleep(0.02)


async def test_who_cannot_wait_is_refused_with_a_time_while_it_is_open(
    fleet: Fleet, request_for: Callable[..., JobSpec], spec: job_pb2.JobSpec
) -> None:
    first, second = fleet.clients
    jobs, lane = await opened(fleet, [request_for(f"Open? {number}", model=MODEL) for number in range(FAILURES)])
    assert lane.breaker_failures == FAILURES
    await fleet.emulator.script("hold", model=MODEL)

    spec.model, spec.prompt, spec.fail_fast = MODEL, "At once?", True
    patient = [
        await client.submit(request_for(f"Patient with {client.address}?", model=MODEL)) for client in (first, second)
    ]
    for client, job in zip((first, second), patient, strict=True):
        # A scheduler hears within a second of what happened on another one.
        await waits(client, job.job_id, WaitReason.CIRCUIT_BREAKER)
        # By hand: the client would wait as it is told, and try again.
        async with grpc.aio.insecure_channel(client.address) as channel:
            by_hand: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await by_hand.SubmitJob(pb.SubmitJobRequest(spec=spec))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        told = details(refused.value)
        assert told[error_details_pb2.ErrorInfo].reason == "CIRCUIT_BREAKER_OPEN"
        delay = told[error_details_pb2.RetryInfo].retry_delay.ToTimedelta()
        assert datetime.timedelta() < delay <= datetime.timedelta(seconds=3)

    await fleet.emulator.release()
    assert succeeded(await finished(second, [job.job_id for job in (*jobs, *patient)]))
    assert await fleet.emulator.calls(prompt="At once?") == []


async def test_an_operator_closes_it_and_jobs_go_on(fleet: Fleet, request_for: Callable[..., JobSpec]) -> None:
    first, second = fleet.clients
    jobs, _ = await opened(fleet, [request_for(f"Reset? {number}", model=MODEL) for number in range(FAILURES)])

    closed = await second.reset_breaker(LANE)

    assert (closed.breaker_state, closed.breaker_failures, closed.breaker_open_until_time) == (
        *(BreakerState.CLOSED, 0, None),
    )
    assert succeeded(await finished(first, [job.job_id for job in jobs]))
