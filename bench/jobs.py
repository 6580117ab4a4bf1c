"""What the measurements share: jobs, and an executor whose model answers at once."""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from devkit import stack
from devkit.programs import Program, logged, program
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

ROOT = Path(__file__).parents[1]
BATCH = 1_000
# 67 bytes: the smallest PNG.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
SPEC = job_pb2.JobSpec(
    user_id="bench",
    images=[job_pb2.Image(data=PIXEL)],
    prompt="What is this? " + "x" * 800,
    response_schema_json='{"type": "object", "properties": {"asked": {"type": "number"}}, "required": ["asked"]}',
)

_ANY_LEFT = "SELECT EXISTS (SELECT 1 FROM queue WHERE lane <> $1)"

_numbers = itertools.count()


@asynccontextmanager
async def executor(
    system: stack.Stack, folder: Path, *, capacity: int, seconds: float = 0.0, lanes: str = "gemini/*"
) -> AsyncIterator[Program]:
    """Run the executor with the instant model."""
    environment = stack.clean_environment() | {
        "EXECUTOR_SCHEDULER_ADDRESS": system.address,
        "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
        "EXECUTOR_SPOOL_DIR": str(folder / "spool"),
        "EXECUTOR_CAPACITY": str(capacity),
        "EXECUTOR_LANES": lanes,
        "EXECUTOR_BENCH_SECONDS": str(seconds),
        "PYTHONPATH": str(ROOT),
    }
    log = folder / f"executor-{time.time_ns()}.log"
    async with program("python", "-m", "bench.instant_executor", environment=environment, log=log) as running:
        await running.ready(logged("scheduler_connected", "session"))
        yield running


def request(*, model: str = "") -> pb.SubmitJobRequest:
    """Return a request that no other is identical to: identical ones would share a call."""
    spec = job_pb2.JobSpec()
    spec.CopyFrom(SPEC)
    spec.model = model
    spec.prompt = f"What is this? {next(_numbers):09} " + "x" * 800
    return pb.SubmitJobRequest(spec=spec)


async def submit(jobs: vision_job_service_pb2_grpc.VisionJobServiceAsyncStub, count: int) -> list[str]:
    ids: list[str] = []
    for _ in range(0, count, BATCH):
        batch = pb.SubmitJobsRequest(requests=[request() for _ in range(min(BATCH, count - len(ids)))])
        ids += [job.job_id for job in (await jobs.SubmitJobs(batch)).jobs]
    return ids


async def emptied(system: stack.Stack, *, but_for: str = "") -> None:
    """Wait until no job is left in the queue, but for those of one lane."""
    connection = await asyncpg.connect(system.database_url)
    try:
        while await connection.fetchval(_ANY_LEFT, but_for):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)
    finally:
        await connection.close()
