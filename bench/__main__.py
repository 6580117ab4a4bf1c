"""`make bench`: drain, latency and occupancy."""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
from rich.console import Console
from rich.table import Table

from devkit import stack
from devkit.programs import Program, logged, program
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

ROOT = Path(__file__).parents[1]
BATCH = 1_000
# 67 bytes: the smallest PNG.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
SPEC = job_pb2.JobSpec(
    user_id="bench",
    images=[job_pb2.Image(data=PIXEL)],
    prompt="What is this? " + "x" * 800,
    response_schema_json='{"type": "object", "properties": {"asked": {"type": "number"}}, "required": ["asked"]}',
)

_numbers = itertools.count()


@asynccontextmanager
async def executor(system: stack.Stack, folder: Path, *, capacity: int, seconds: float = 0.0) -> AsyncIterator[Program]:
    """Run the executor with the instant model."""
    environment = stack.clean_environment() | {
        "EXECUTOR_SCHEDULER_ADDRESS": system.address,
        "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
        "EXECUTOR_SPOOL_DIR": str(folder / "spool"),
        "EXECUTOR_CAPACITY": str(capacity),
        "EXECUTOR_BENCH_SECONDS": str(seconds),
        "PYTHONPATH": str(ROOT),
    }
    log = folder / f"executor-{time.time_ns()}.log"
    async with program("python", "-m", "bench.instant_executor", environment=environment, log=log) as running:
        await running.ready(logged("scheduler_connected", "session"))
        yield running


def request() -> pb.SubmitJobRequest:
    """Return a request that no other is identical to: identical ones would share a call."""
    spec = job_pb2.JobSpec()
    spec.CopyFrom(SPEC)
    spec.prompt = f"What is this? {next(_numbers):09} " + "x" * 800
    return pb.SubmitJobRequest(spec=spec)


async def submit(jobs: vision_job_service_pb2_grpc.VisionJobServiceAsyncStub, count: int) -> list[str]:
    ids: list[str] = []
    for _ in range(0, count, BATCH):
        batch = pb.SubmitJobsRequest(requests=[request() for _ in range(min(BATCH, count - len(ids)))])
        ids += [job.job_id for job in (await jobs.SubmitJobs(batch)).jobs]
    return ids


async def emptied(system: stack.Stack) -> None:
    """Wait until no job is left in the queue."""
    connection = await asyncpg.connect(system.database_url)
    try:
        while await connection.fetchval("SELECT EXISTS (SELECT 1 FROM queue)"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def drain(system: stack.Stack, folder: Path, *, count: int, capacity: int) -> tuple[float, float]:
    """Return jobs a second of submitting in batches, and of working off what waits."""
    async with grpc.aio.insecure_channel(system.address) as channel:
        jobs: vision_job_service_pb2_grpc.VisionJobServiceAsyncStub = vision_job_service_pb2_grpc.VisionJobServiceStub(
            channel
        )
        began = time.perf_counter()
        await submit(jobs, count)
        submitted = time.perf_counter() - began
    async with executor(system, folder, capacity=capacity):
        began = time.perf_counter()
        await emptied(system)
        return count / submitted, count / (time.perf_counter() - began)


async def latency(system: stack.Stack, folder: Path, *, count: int, rate: float) -> list[float]:
    """Return the seconds from before SubmitJob to the model being asked, at a steady rate on an idle system."""
    waits: list[float] = []
    async with (
        executor(system, folder, capacity=50),
        grpc.aio.insecure_channel(system.address) as channel,
        asyncio.TaskGroup() as tasks,
    ):
        jobs: vision_job_service_pb2_grpc.VisionJobServiceAsyncStub = vision_job_service_pb2_grpc.VisionJobServiceStub(
            channel
        )

        async def one() -> None:
            began = time.time()
            job_id = (await jobs.SubmitJob(request())).job.job_id
            changes = [change.job async for change in jobs.WatchJob(pb.WatchJobRequest(job_id=job_id))]
            waits.append(json.loads(changes[-1].result.output_json)["asked"] - began)

        start = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.create_task(one())
    return sorted(waits)


async def occupancy(system: stack.Stack, folder: Path, *, count: int, capacity: int, seconds: float) -> float:
    """Return how much of the slots' time was used: ideal by real duration of jobs that take a fixed time."""
    async with grpc.aio.insecure_channel(system.address) as channel:
        await submit(vision_job_service_pb2_grpc.VisionJobServiceStub(channel), count)
    async with executor(system, folder, capacity=capacity, seconds=seconds):
        began = time.perf_counter()
        await emptied(system)
        return (count * seconds / capacity) / (time.perf_counter() - began)


async def main() -> None:
    console = Console()
    table = Table(title="visionjobs on this machine; the model answers at once", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    with tempfile.TemporaryDirectory(prefix="visionjobs-bench-") as name:
        folder = Path(name)
        async with stack.running(stack.Options(folder=folder / "run", executors=0)) as system:
            console.print("draining …")
            for capacity in (500, 3_000):
                submitting, draining = await drain(system, folder, count=20_000, capacity=capacity)
                table.add_row(f"submit 20,000 jobs in batches of {BATCH:,}", f"{submitting:,.0f} jobs/s")
                table.add_row(f"drain 20,000 jobs, one executor of {capacity:,} slots", f"{draining:,.0f} jobs/s")
            console.print("latency …")
            waits = await latency(system, folder, count=1_000, rate=100)
            for share, label in ((0.5, "median"), (0.99, "99th percentile")):
                figure = waits[int(len(waits) * share)] * 1000
                table.add_row(f"from SubmitJob to the call, 100 jobs/s, {label}", f"{figure:.1f} ms")
            console.print("occupancy …")
            shares = [await occupancy(system, folder, count=2_000, capacity=200, seconds=0.2) for _ in range(3)]
            table.add_row(
                "occupancy, 2,000 jobs of 0.2 s on 200 slots, median of 3", f"{statistics.median(shares):.2f}"
            )
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
