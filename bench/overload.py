"""How long ends of running work take to be stored: alone, and while callers flood the scheduler with submissions.

The flood goes to a lane that nobody serves, so it takes nothing from the executor. Each caller sends one batch after the
other, and comes again when it is told to; the scheduler sheds what is beyond its bound.
"""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from bench.jobs import emptied, executor, request
from devkit import stack
from visionjobs.v1 import vision_job_service_pb2 as pb
from visionjobs.v1 import vision_job_service_pb2_grpc

CALLERS = 200
FLOOD_BATCH = 500
_MODEL, _OTHER_MODEL = "gemini-3.8-flash", "gemini-3.1-flash-lite"
_CALL_SECONDS = 0.25


async def completions(system: stack.Stack, folder: Path, *, count: int) -> tuple[list[float], list[float], float]:
    """Return the seconds from each answer to the end of its job, alone and flooded, and which share of the flood passed."""
    ends: Counter[grpc.StatusCode] = Counter()
    alone = await _completion(system, folder, count)
    async with _flood(system.address, ends):
        flooded = await _completion(system, folder, count)
    return alone, flooded, ends[grpc.StatusCode.OK] / max(1, ends.total())


async def _completion(system: stack.Stack, folder: Path, count: int) -> list[float]:
    async with grpc.aio.insecure_channel(system.address) as channel:
        jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        ids = await _submit_all(jobs, count)
        async with executor(system, folder, capacity=50, seconds=_CALL_SECONDS, lanes=f"gemini/{_MODEL}"):
            await emptied(system, but_for=f"gemini/{_OTHER_MODEL}")
        return sorted([wait async for wait in _waits(jobs, ids)])


async def _submit_all(jobs: Any, count: int) -> list[str]:
    """Submit the work that is measured, as often as it is shed."""
    batch = pb.SubmitJobsRequest(requests=[request(model=_MODEL) for _ in range(count)])
    while True:
        try:
            return [job.job_id for job in (await jobs.SubmitJobs(batch)).jobs]
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _flood(address: str, ends: Counter[grpc.StatusCode]) -> AsyncIterator[None]:
    """Submit as much as is taken, while the block runs."""
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(_call_on(address, ends)) for _ in range(CALLERS)]
        yield
        for caller in callers:
            caller.cancel()


async def _call_on(address: str, ends: Counter[grpc.StatusCode]) -> None:
    batch = pb.SubmitJobsRequest(requests=[request(model=_OTHER_MODEL) for _ in range(FLOOD_BATCH)])
    async with grpc.aio.insecure_channel(address) as channel:
        jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        while True:
            try:
                await jobs.SubmitJobs(batch)
                ends[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code()] += 1
                await asyncio.sleep(1)


async def _waits(jobs: Any, ids: list[str]) -> AsyncIterator[float]:
    for start in range(0, len(ids), 100):
        for job in (await jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=ids[start : start + 100]))).jobs:
            answered = json.loads(job.result.output_json)["asked"] + _CALL_SECONDS
            yield job.finish_time.ToMicroseconds() / 1e6 - answered
