# ruff: noqa: N802 - the methods have the names of the contract
"""A scheduler for the client's tests: real gRPC on loopback, answers as a test scripts them."""

import asyncio
import collections
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from fake_admin import FakeAdmin
from fake_answers import failure, job_message
from fake_keys import FakeKeys
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]


FINAL = {
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED,
    job_pb2.JOB_STATE_CANCELLED,
    job_pb2.JOB_STATE_EXPIRED,
}


class FakeScheduler(vision_job_service_pb2_grpc.VisionJobServiceServicer, FakeAdmin, FakeKeys):
    """Answers from `jobs`; ends calls with `failures` first.

    Attributes:
        jobs: By id, in the order in which ListJobs tells them.
        lanes: By name, in the order in which ListLanes tells them.
        alerts: What ListAlerts tells, in this order.
        usage: What GetUsage tells, in this order.
        keys: By id, in the order in which ListKeys tells them.
        entries: What ListAuditEntries tells, in this order.
        purged: What PurgeUser tells.
        public_url: What links begin with.
        failures: The next calls that are not watches end with these, one each.
        failures_after: How many calls that are not watches succeed before that.
        streams: What the next watches send, one list each: jobs, a Status that ends the stream, or an Event that is
            waited for. A stream without a list sends the jobs it was asked for, once.
        requests: Every request, in the order of arrival.
        metadata: The metadata of every call, likewise.
        watching: Set when a stream has come to an Event of its list.
        left: Set when a stream has ended, also by its watcher.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.lanes: dict[str, admin_service_pb2.Lane] = {}
        self.alerts: list[admin_service_pb2.Alert] = []
        self.usage: list[vision_job_service_pb2.UsageRow] = []
        self.keys: dict[str, admin_service_pb2.Key] = {}
        self.entries: list[admin_service_pb2.AuditEntry] = []
        self.purged = admin_service_pb2.PurgeUserResponse()
        self.public_url = "https://jobs.example"
        self.failures: collections.deque[status_pb2.Status] = collections.deque()
        self.failures_after = 0
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
        if is_watch:
            return
        if self.failures_after:
            self.failures_after -= 1
        elif self.failures:
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

    async def GetUsage(
        self, request: vision_job_service_pb2.GetUsageRequest, context: Context
    ) -> vision_job_service_pb2.GetUsageResponse:
        await self._note(request, context)
        return vision_job_service_pb2.GetUsageResponse(rows=self.usage)

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

    async def CancelJob(
        self, request: vision_job_service_pb2.CancelJobRequest, context: Context
    ) -> vision_job_service_pb2.CancelJobResponse:
        await self._note(request, context)
        job = await self._job(request.job_id, context)
        if job.state in FINAL - {job_pb2.JOB_STATE_CANCELLED}:
            await self._refuse(f"The job {job.job_id} has ended.", context)
        job.state = job_pb2.JOB_STATE_CANCELLED
        job.ClearField("wait")
        return vision_job_service_pb2.CancelJobResponse(job=job)

    async def RetryJob(
        self, request: vision_job_service_pb2.RetryJobRequest, context: Context
    ) -> vision_job_service_pb2.RetryJobResponse:
        await self._note(request, context)
        job = await self._job(request.job_id, context)
        if job.state not in FINAL:
            await self._refuse(f"The job {job.job_id} has not ended.", context)
        return vision_job_service_pb2.RetryJobResponse(job=self._again(job))

    async def CancelJobs(
        self, request: vision_job_service_pb2.CancelJobsRequest, context: Context
    ) -> vision_job_service_pb2.CancelJobsResponse:
        await self._note(request, context)
        matching = [job for job in self._matching(request.filter) if job.state not in FINAL]
        for job in () if request.dry_run else matching:
            job.state = job_pb2.JOB_STATE_CANCELLED
            job.ClearField("wait")
        return vision_job_service_pb2.CancelJobsResponse(count=len(matching))

    async def RetryJobs(
        self, request: vision_job_service_pb2.RetryJobsRequest, context: Context
    ) -> vision_job_service_pb2.RetryJobsResponse:
        await self._note(request, context)
        wanted = FINAL if request.filter.states else {job_pb2.JOB_STATE_FAILED}
        matching = [job for job in self._matching(request.filter) if job.state in wanted]
        for job in () if request.dry_run else matching:
            self._again(job)
        return vision_job_service_pb2.RetryJobsResponse(count=len(matching))

    async def CreateJobLink(
        self, request: vision_job_service_pb2.CreateJobLinkRequest, context: Context
    ) -> vision_job_service_pb2.CreateJobLinkResponse:
        await self._note(request, context)
        job = await self._job(request.job_id, context)
        return vision_job_service_pb2.CreateJobLinkResponse(
            url=f"{self.public_url}/jobs/{job.job_id}?link=signed",
            expire_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        )

    def _matching(self, job_filter: vision_job_service_pb2.JobFilter) -> list[job_pb2.Job]:
        """Return the jobs of the filter's user, states and labels; its lane and times choose nothing here."""
        return [
            job
            for job in self.jobs.values()
            if job_filter.user_id in {"", job.spec.user_id}
            and (not job_filter.states or job.state in job_filter.states)
            and job_filter.labels.items() <= job.spec.labels.items()
        ]

    def _again(self, job: job_pb2.Job) -> job_pb2.Job:
        new = job_message(f"job-{len(self.jobs) + 1}", spec=job.spec, retried_from=job.job_id)
        self.jobs[new.job_id] = new
        return new

    @staticmethod
    async def _refuse(message: str, context: Context) -> None:
        refusal = failure("FAILED_PRECONDITION", message, reason="WRONG_STATE")
        await context.abort_with_status(rpc_status.to_status(refusal))

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


async def serve(
    scheduler: FakeScheduler, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 * 1024 * 1024), ("grpc.so_reuseport", 0)])
    vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(scheduler, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(scheduler, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    scheduler.address = f"127.0.0.1:{port}"
    await server.start()
    return server
