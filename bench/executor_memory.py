"""`make bench-memory`: what an executor and its image workers hold while 5,000 jobs with images of their own pass through.

The provider is emulated and spoils some answers. Flat is: the last quarter needs no more than the second one did, within
a few percent; the first fills the caches.
"""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import io
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.jobs import request
from devkit import stack
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

JOBS = 5_000
_ROUND = 250
_SIDE = 256
_ALLOWED_GROWTH = 1.05


async def main() -> int:
    """Return 0 if the memory is flat."""
    console = Console()
    faults = (
        "--fault",
        "503=0.02",
        "--fault",
        "not-json=0.02",
        "--fault",
        "max-tokens=0.02",
        "--fault",
        "reset-after=0.01",
    )
    with tempfile.TemporaryDirectory(prefix="visionjobs-memory-") as name:
        options = stack.Options(
            folder=Path(name) / "run",
            executors=1,
            capacity=16,
            emulate=True,
            emulator_arguments=("--latency-ms", "0", "--seed", "1", *faults),
            environment={"SCHEDULER_BREAKER_FAILURES": "100"},
        )
        async with stack.running(options) as system:
            sizes = [size async for size in _sizes(system)]
    quarter = len(sizes) // 4
    second, last = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
    table = Table(title=f"An executor and its workers over {JOBS:,} jobs, resident", title_justify="left")
    table.add_column("jobs", justify="right")
    table.add_column("MiB", justify="right")
    for number in range(0, len(sizes), max(1, len(sizes) // 10)):
        table.add_row(f"{(number + 1) * _ROUND:,}", f"{sizes[number] / 1024:.0f}")
    console.print(table)
    console.print(f"The last quarter's most to the second's: {last / second:.3f}.")
    return 0 if last <= second * _ALLOWED_GROWTH else 1


async def _sizes(system: stack.Stack) -> Any:
    """Yield the resident kilobytes after each round of jobs."""
    draw = random.Random(1)
    async with grpc.aio.insecure_channel(system.address) as channel:
        stub: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        for _ in range(0, JOBS, _ROUND):
            batch = pb.SubmitJobsRequest()
            for _ in range(_ROUND):
                batch.requests.append(request())
                batch.requests[-1].spec.images[0].CopyFrom(job_pb2.Image(data=_picture(draw)))
            ids = [job.job_id for job in (await stub.SubmitJobs(batch)).jobs]
            async for _change in stub.WatchJobs(pb.WatchJobsRequest(job_ids=ids)):
                pass
            yield sum(_resident_kilobytes(pid) for pid in _family(system.executors[0].pid))


def _picture(draw: random.Random) -> bytes:
    """Return a JPEG of noise that is like no other."""
    image = Image.frombytes("RGB", (_SIDE, _SIDE), draw.randbytes(_SIDE * _SIDE * 3))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return file.getvalue()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
