"""`make bench`: drain, latency, occupancy, and running work under a flood of submissions."""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from bench import overload
from bench.jobs import BATCH, emptied, executor, request, submit
from devkit import stack
from visionjobs.v1 import vision_job_service_pb2 as pb
from visionjobs.v1 import vision_job_service_pb2_grpc


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


async def submitted_one(jobs: vision_job_service_pb2_grpc.VisionJobServiceAsyncStub) -> str:
    """Submit a job, again after a moment where it is shed, and return its id."""
    while True:
        try:
            return (await jobs.SubmitJob(request())).job.job_id
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.5)


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
            job_id = await submitted_one(jobs)
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
        console.print("overload …")
        async with stack.running(stack.Options(folder=folder / "flooded", executors=0)) as system:
            alone, flooded, taken = await overload.completions(system, folder, count=1_000)
            for share, label in ((0.5, "median"), (0.99, "99th percentile")):
                quiet, loud = (waits[int(len(waits) * share)] * 1000 for waits in (alone, flooded))
                what = f"from answer to end under a flood of {overload.CALLERS} callers, {label}"
                table.add_row(what, f"{loud:.1f} ms, alone {quiet:.1f} ms")
            table.add_row(f"of the flood taken, batches of {overload.FLOOD_BATCH}", f"{taken:.0%}")
    console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
