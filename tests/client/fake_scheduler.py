# ruff: noqa: N802 - the methods have the names of the contract
"""A scheduler for the client's tests: real gRPC on loopback, answers as a test scripts them."""

import asyncio
import collections
import datetime
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from visionjobs.v1 import job_pb2, vision_job_service_pb2, vision_job_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


def failure(
    code: str,
    message: str = "",
    *,
    reason: str = "",
    violations: dict[str, str] | None = None,
    retry_after: datetime.timedelta | None = None,
) -> status_pb2.Status:
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="visionjobs", metadata={"job_id": "x"}))
    if violations:
        bad = error_details_pb2.BadRequest()
        for path, description in violations.items():
            bad.field_violations.add(field=path, description=description)
        details.append(bad)
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def job_message(job_id: str, state: str = "QUEUED", **fields: Any) -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, state=job_pb2.JobState.Value(f"JOB_STATE_{state}"), **fields)


def succeeded(job_id: str, output_json: str = '{"total": 4.5}', model: str = "gemini-3.8-flash") -> job_pb2.Job:
    result = job_pb2.Result(
        output_json=output_json,
        model_version=model,
        usage=job_pb2.Usage(input_tokens=1100, output_tokens=50),
        cost_usd=0.0012,
    )
    return job_message(job_id, "SUCCEEDED", result=result)


class FakeScheduler(vision_job_service_pb2_grpc.VisionJobServiceServicer):
    """Answers from `jobs`; ends calls with `failures` first.

    Attributes:
        jobs: By id, in the order in which ListJobs tells them.
        failures: The next calls that are not watches end with these, one each.
        streams: What the next watches send, one list each: jobs, a Status that ends the stream, or an Event that is
            waited for. A stream without a list sends the jobs it was asked for, once.
        requests: Every request, in the order of arrival.
        metadata: The metadata of every call, likewise.
        watching: Set when a stream has come to an Event of its list.
        left: Set when a stream has ended, also by its watcher.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.failures: collections.deque[status_pb2.Status] = collections.deque()
        self.streams: collections.deque[Sequence[job_pb2.Job | status_pb2.Status | asyncio.Event]] = collections.deque()
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.watching = asyncio.Event()
        self.left = asyncio.Event()
        self.address = ""

    async def _note(self, request: Message, context: Context) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        is_watch = isinstance(request, vision_job_service_pb2.WatchJobRequest | vision_job_service_pb2.WatchJobsRequest)
        if self.failures and not is_watch:
            await context.abort_with_status(rpc_status.to_status(self.failures.popleft()))

    async def _job(self, job_id: str, context: Context) -> job_pb2.Job:
        if job_id not in self.jobs:
            missing = failure("NOT_FOUND", f"There is no job {job_id}.", reason="JOB_NOT_FOUND")
            await context.abort_with_status(rpc_status.to_status(missing))
        return self.jobs[job_id]

    def _accept(self, request: vision_job_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        job = job_message(f"job-{len(self.jobs) + 1}", spec=request.spec)
        self.jobs[job.job_id] = job
        return job

    async def SubmitJob(
        self, request: vision_job_service_pb2.SubmitJobRequest, context: Context
    ) -> vision_job_service_pb2.SubmitJobResponse:
        await self._note(request, context)
        return vision_job_service_pb2.SubmitJobResponse(job=self._accept(request))

    async def SubmitJobs(
        self, request: vision_job_service_pb2.SubmitJobsRequest, context: Context
    ) -> vision_job_service_pb2.SubmitJobsResponse:
        await self._note(request, context)
        jobs = [self._accept(each) for each in request.requests]
        return vision_job_service_pb2.SubmitJobsResponse(jobs=[job_message(job.job_id) for job in jobs])

    async def UploadImage(
        self, request_iterator: AsyncIterator[vision_job_service_pb2.UploadImageRequest], context: Context
    ) -> vision_job_service_pb2.UploadImageResponse:
        first = await anext(request_iterator)
        await self._note(first, context)
        digest = hashlib.sha256()
        async for request in request_iterator:
            self.requests.append(request)
            digest.update(request.chunk)
        image = job_pb2.Image(sha256=digest.hexdigest(), mime_type=first.metadata.mime_type)
        return vision_job_service_pb2.UploadImageResponse(image=image)

    async def GetJob(
        self, request: vision_job_service_pb2.GetJobRequest, context: Context
    ) -> vision_job_service_pb2.GetJobResponse:
        await self._note(request, context)
        return vision_job_service_pb2.GetJobResponse(job=await self._job(request.job_id, context))

    async def BatchGetJobs(
        self, request: vision_job_service_pb2.BatchGetJobsRequest, context: Context
    ) -> vision_job_service_pb2.BatchGetJobsResponse:
        await self._note(request, context)
        jobs = [await self._job(job_id, context) for job_id in request.job_ids]
        return vision_job_service_pb2.BatchGetJobsResponse(jobs=jobs)

    async def ListJobs(
        self, request: vision_job_service_pb2.ListJobsRequest, context: Context
    ) -> vision_job_service_pb2.ListJobsResponse:
        await self._note(request, context)
        begin = int(request.page_token or 0)
        end = begin + (request.page_size or 50)
        jobs = list(self.jobs.values())
        return vision_job_service_pb2.ListJobsResponse(
            jobs=jobs[begin:end], next_page_token=str(end) if end < len(jobs) else ""
        )

    async def WatchJob(
        self, request: vision_job_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[vision_job_service_pb2.WatchJobResponse]:
        await self._note(request, context)
        async for job in self._stream([request.job_id], context):
            yield vision_job_service_pb2.WatchJobResponse(job=job)

    async def WatchJobs(
        self, request: vision_job_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncIterator[vision_job_service_pb2.WatchJobsResponse]:
        await self._note(request, context)
        async for job in self._stream(request.job_ids, context):
            yield vision_job_service_pb2.WatchJobsResponse(job=job)

    async def _stream(self, job_ids: Sequence[str], context: Context) -> AsyncIterator[job_pb2.Job]:
        script = self.streams.popleft() if self.streams else [await self._job(job_id, context) for job_id in job_ids]
        try:
            for item in script:
                if isinstance(item, status_pb2.Status):
                    await context.abort_with_status(rpc_status.to_status(item))
                elif isinstance(item, asyncio.Event):
                    self.watching.set()
                    await item.wait()
                else:
                    yield item
        finally:
            self.left.set()


async def serve(scheduler: FakeScheduler, address: str = "127.0.0.1:0") -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 * 1024 * 1024), ("grpc.so_reuseport", 0)])
    vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(scheduler, server)
    port = server.add_insecure_port(address)
    scheduler.address = f"127.0.0.1:{port}"
    await server.start()
    return server
