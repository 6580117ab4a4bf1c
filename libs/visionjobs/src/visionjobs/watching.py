"""Follows jobs over as many streams as it takes: one that breaks is opened again, and what was told is not told twice."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from grpc.aio import UnaryStreamCall

from visionjobs.errors import DeadlineExceeded, Unavailable
from visionjobs.jobs import Job
from visionjobs.mapping import answers
from visionjobs.retrying import Outage
from visionjobs.rpc_errors import translated
from visionjobs.v1 import vision_job_service_pb2 as service_pb2

Change = TypeVar("Change", service_pb2.WatchJobResponse, service_pb2.WatchJobsResponse)


async def follow(
    open_stream: Callable[[Sequence[str]], UnaryStreamCall[Any, Change]],
    job_ids: Sequence[str],
    begin_outage: Callable[[], Outage],
) -> AsyncGenerator[Job, None]:
    """Yield every change until all jobs are final.

    Args:
        open_stream: Begins to watch these ids.
        job_ids: May be empty if the stream needs none; then only the scheduler's end of the stream is the end.
        begin_outage: Makes what bounds each stretch without an answer; nothing bounds the watch itself.

    Raises:
        Unavailable: The scheduler was away for longer than the timeout.
        DeadlineExceeded: A stream was silent from its start, though the present state comes at once.
    """
    outage = begin_outage()
    told: dict[str, Job] = {}
    unfinished = list(dict.fromkeys(job_ids))
    while True:
        stream = open_stream(unfinished)
        within: float | None = outage.seconds_left
        try:
            while (job := await _next(stream, within)) is not None:
                outage.end()
                within = None
                if told.get(job.job_id) == job:
                    continue
                told[job.job_id] = job
                yield job
                if job.state.is_final and job.job_id in unfinished:
                    unfinished.remove(job.job_id)
                    if not unfinished:
                        return
        except Unavailable as error:
            await outage.pause(error)
        else:
            return
        finally:
            stream.cancel()


async def _next(stream: UnaryStreamCall[Any, Change], within: float | None) -> Job | None:
    try:
        with translated():
            async with asyncio.timeout(within):
                change = await stream.read()
    except TimeoutError:
        raise DeadlineExceeded("The watch did not begin in time.", code="DEADLINE_EXCEEDED") from None
    if not isinstance(change, service_pb2.WatchJobResponse | service_pb2.WatchJobsResponse):
        return None  # gRPC's EOF
    return answers.job(change.job)
