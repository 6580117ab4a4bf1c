"""What dies must not take a job with it."""

import asyncio
import json
import time
import urllib.request
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from system_calls import StartStack, details

from devkit.stack import Stack
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def submit(jobs: Any, spec: job_pb2.JobSpec, count: int) -> list[str]:
    requests = []
    for number in range(count):
        request = pb.SubmitJobRequest(spec=spec)
        request.spec.prompt = f"What is this? ({number})"
        requests.append(request)
    return [job.job_id for job in (await jobs.SubmitJobs(pb.SubmitJobsRequest(requests=requests))).jobs]


async def until_running(jobs: Any, ids: list[str], executor_ids: int) -> dict[str, str]:
    """Wait until that many executors work; return job and executor of what runs."""
    running: dict[str, str] = {}
    async for change in jobs.WatchJobs(pb.WatchJobsRequest(job_ids=ids)):
        if change.job.stage == job_pb2.JOB_STAGE_GEMINI_ANALYZING:
            job = (await jobs.GetJob(pb.GetJobRequest(job_id=change.job.job_id))).job
            running[job.job_id] = job.executor_id
        if len(set(running.values())) == executor_ids:
            break
    return running


async def all_finished(jobs: Any, ids: list[str]) -> list[job_pb2.Job]:
    async for _ in jobs.WatchJobs(pb.WatchJobsRequest(job_ids=ids)):
        pass
    batch = pb.BatchGetJobsRequest(job_ids=ids, view=job_pb2.JOB_VIEW_FULL)
    return list((await jobs.BatchGetJobs(batch)).jobs)


def billed_calls(system: Stack) -> int:
    with urllib.request.urlopen(f"{system.emulator_url}/emulator/ledger") as answer:
        return len(json.load(answer)["calls"])


async def until_health(channel: grpc.aio.Channel, wanted: int, *, seconds: float) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(seconds):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wanted:
                return


async def test_killing_an_executor_in_the_middle_of_its_jobs_loses_none(
    start_stack: StartStack, spec: job_pb2.JobSpec
) -> None:
    environment = {"SCHEDULER_HEARTBEAT_SECONDS": "0.5", "SCHEDULER_EXECUTOR_LOST_SECONDS": "4"}
    async with (
        start_stack(emulator_arguments=("--latency-ms", "1500"), environment=environment) as system,
        grpc.aio.insecure_channel(system.address) as channel,
        asyncio.timeout(60),
    ):
        jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        ids = await submit(jobs, spec, 12)
        await until_running(jobs, ids, 2)

        system.executors[0].kill()
        done = await all_finished(jobs, ids)

    assert [job.state for job in done] == [job_pb2.JOB_STATE_SUCCEEDED] * 12
    lost = [job for job in done if any(attempt.outcome == "LOST" for attempt in job.attempts)]
    assert lost
    assert all(job.retry_count == 0 for job in done)
    assert all(job.attempts[-1].outcome == "SUCCEEDED" for job in done)


async def test_killing_the_scheduler_in_the_middle_loses_no_job_and_pays_for_none_twice(
    start_stack: StartStack, spec: job_pb2.JobSpec
) -> None:
    async with start_stack(emulator_arguments=("--latency-ms", "1500")) as system, asyncio.timeout(60):
        async with grpc.aio.insecure_channel(system.address) as channel:
            jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
            ids = await submit(jobs, spec, 9)
            await until_running(jobs, ids, 2)
        assert system.scheduler is not None
        system.scheduler.kill()
        await system.scheduler.wait()

        await system.start_scheduler(grpc_address=system.address)
        async with grpc.aio.insecure_channel(system.address) as channel:
            jobs = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
            done = await all_finished(jobs, ids)
        billed = await asyncio.to_thread(billed_calls, system)

    assert [job.state for job in done] == [job_pb2.JOB_STATE_SUCCEEDED] * 9
    assert billed == 9


async def test_without_the_database_calls_are_unavailable_and_all_is_well_when_it_is_back(
    start_stack: StartStack, spec: job_pb2.JobSpec
) -> None:
    async with (
        start_stack(own_postgres=True) as system,
        grpc.aio.insecure_channel(system.address) as channel,
        asyncio.timeout(90),
    ):
        jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        await until_health(channel, SERVING, seconds=10)

        assert system.postgres is not None
        await asyncio.to_thread(system.postgres.kill)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))
        assert time.monotonic() - started < 5
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_details_pb2.RetryInfo in details(refused.value)
        await until_health(channel, NOT_SERVING, seconds=10)

        await asyncio.to_thread(system.postgres.start)
        await until_health(channel, SERVING, seconds=10)
        [done] = await all_finished(jobs, await submit(jobs, spec, 1))

    assert done.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_scheduler_that_stops_stores_what_is_finished_and_its_jobs_go_on_elsewhere(
    start_stack: StartStack, spec: job_pb2.JobSpec
) -> None:
    async with start_stack(emulator_arguments=("--latency-ms", "800")) as system, asyncio.timeout(60):
        async with grpc.aio.insecure_channel(system.address) as channel:
            jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
            ids = await submit(jobs, spec, 9)
            await until_running(jobs, ids, 2)
        assert system.scheduler is not None
        system.scheduler.interrupt()
        assert await system.scheduler.wait() == 0

        await system.start_scheduler(grpc_address=system.address)
        async with grpc.aio.insecure_channel(system.address) as channel:
            jobs = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
            done = await all_finished(jobs, ids)
        billed = await asyncio.to_thread(billed_calls, system)

    assert [job.state for job in done] == [job_pb2.JOB_STATE_SUCCEEDED] * 9
    assert billed == 9


async def test_an_executor_that_stops_finishes_its_calls(start_stack: StartStack, spec: job_pb2.JobSpec) -> None:
    async with (
        start_stack(executors=1, emulator_arguments=("--latency-ms", "800")) as system,
        grpc.aio.insecure_channel(system.address) as channel,
        asyncio.timeout(60),
    ):
        jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        ids = await submit(jobs, spec, 3)
        await until_running(jobs, ids, 1)

        system.executors[0].interrupt()
        assert await system.executors[0].wait() == 0
        await system.start_executor()
        done = await all_finished(jobs, ids)
        billed = await asyncio.to_thread(billed_calls, system)

    assert [job.state for job in done] == [job_pb2.JOB_STATE_SUCCEEDED] * 3
    assert billed == 3
