"""What other backends call."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from opentelemetry.trace import SpanKind

from runtime.tracing import Tracing
from scheduler import wire
from scheduler.again import Again
from scheduler.cancel import Cancel
from scheduler.errors import AnswerTooLarge, InvalidRequest, Violation
from scheduler.jobs import Job
from scheduler.links import Links
from scheduler.read import MAX_BATCH, MAX_WATCHED, Read, checked_ids, page_token
from scheduler.records import JobQuery
from scheduler.rpc import filters, mapping, usage_mapping
from scheduler.rpc.gate import caller
from scheduler.submit import Submission, Submit
from scheduler.usage import GetUsage
from scheduler.watch import Watch
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

_ANSWER_BYTES = 3 * 1024 * 1024
"""Other clients' default limit is 4 MiB."""

_Context = Any
"""grpc.aio.ServicerContext; the generated base class asks for both flavours at once."""


class VisionJobServicer(vision_job_service_pb2_grpc.VisionJobServiceServicer):
    """Maps requests to the use cases."""

    def __init__(
        self,
        *,
        submit: Submit,
        read: Read,
        watch: Watch,
        cancel: Cancel,
        again: Again,
        links: Links,
        usage: GetUsage,
        tracing: Tracing,
        max_image_bytes: int,
    ) -> None:
        self._submit = submit
        self._read = read
        self._watch = watch
        self._cancel = cancel
        self._again = again
        self._links = links
        self._usage = usage
        self._tracing = tracing
        self._max_image_bytes = max_image_bytes

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: _Context) -> pb.SubmitJobResponse:  # noqa: N802
        [job] = await self._submitted([request], context, path="")
        return pb.SubmitJobResponse(job=wire.job_to_proto(self._read.with_wait(job), full=True))

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, context: _Context) -> pb.SubmitJobsResponse:  # noqa: N802
        jobs = await self._submitted(request.requests, context, path="requests[{index}]")
        return pb.SubmitJobsResponse(jobs=[wire.job_header(job) for job in jobs])

    async def UploadImage(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.UploadImageRequest], context: _Context
    ) -> pb.UploadImageResponse:
        del context
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("content") != "metadata":
            raise InvalidRequest([Violation("metadata", "must come first")])
        data = bytearray()
        async for message in request_iterator:
            if message.WhichOneof("content") != "chunk":
                raise InvalidRequest([Violation("metadata", "must come only once")])
            data += message.chunk
            if len(data) > self._max_image_bytes:
                raise InvalidRequest([Violation("chunk", f"the image has more than {self._max_image_bytes} bytes")])
        image = await self._submit.image(caller().client_id, bytes(data), first.metadata.mime_type)
        return pb.UploadImageResponse(image=wire.image_to_proto(image))

    async def GetJob(self, request: pb.GetJobRequest, context: _Context) -> pb.GetJobResponse:  # noqa: N802
        del context
        full = _is_full(request.view, default=True)
        job = await self._read.job(caller().client_id, request.job_id, attempts=full)
        return pb.GetJobResponse(job=wire.job_to_proto(job, full=full, raw_answers=True))

    async def BatchGetJobs(self, request: pb.BatchGetJobsRequest, context: _Context) -> pb.BatchGetJobsResponse:  # noqa: N802
        del context
        if not 0 < len(request.job_ids) <= MAX_BATCH:
            raise InvalidRequest([Violation("job_ids", f"must have 1 to {MAX_BATCH} entries")])
        full = _is_full(request.view, default=False)
        jobs = await self._read.jobs(caller().client_id, request.job_ids, attempts=full)
        fitting = _fitting(jobs, full=full)
        if len(fitting) < len(jobs):
            raise AnswerTooLarge(len(fitting))
        return pb.BatchGetJobsResponse(jobs=fitting)

    async def ListJobs(self, request: pb.ListJobsRequest, context: _Context) -> pb.ListJobsResponse:  # noqa: N802
        del context
        full = _is_full(request.view, default=False)
        query = filters.list_filter(request)
        jobs, more = await self._read.page(
            caller().client_id, query, page_size=request.page_size, page_token=request.page_token, attempts=full
        )
        fitting = _fitting(jobs, full=full)
        # A single job that is too large goes out alone: without it the list would have no next page.
        shown = fitting or [wire.job_to_proto(job, full=full) for job in jobs[:1]]
        more = more or len(shown) < len(jobs)
        return pb.ListJobsResponse(
            jobs=shown, next_page_token=page_token(shown[-1].job_id, query) if more and shown else ""
        )

    async def WatchJob(  # noqa: N802
        self, request: pb.WatchJobRequest, context: _Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        del context
        full = _is_full(request.view, default=False)
        job = await self._read.job(caller().client_id, request.job_id, attempts=False)
        async for change in self._watched([job.job_id], full=full):
            yield pb.WatchJobResponse(job=change)

    async def WatchJobs(  # noqa: N802
        self, request: pb.WatchJobsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        del context
        full = _is_full(request.view, default=False)
        async for change in self._watched(await self._watched_ids(request), full=full):
            yield pb.WatchJobsResponse(job=change)

    async def CancelJob(self, request: pb.CancelJobRequest, context: _Context) -> pb.CancelJobResponse:  # noqa: N802
        del context
        job = await self._cancel.job(caller().client_id, request.job_id)
        return pb.CancelJobResponse(job=wire.job_to_proto(job, full=True))

    async def RetryJob(self, request: pb.RetryJobRequest, context: _Context) -> pb.RetryJobResponse:  # noqa: N802
        with self._tracing.span("submit", self._parent(context), kind=SpanKind.SERVER) as span:
            job_id, job = await self._again.job(
                caller().client_id,
                request.job_id,
                request_id=request.request_id,
                traceparent=span.traceparent,
                limits=caller().limits,
            )
        found = self._read.with_wait(job) if job else await self._read.job(caller().client_id, job_id, attempts=True)
        return pb.RetryJobResponse(job=wire.job_to_proto(found, full=True))

    async def CancelJobs(self, request: pb.CancelJobsRequest, context: _Context) -> pb.CancelJobsResponse:  # noqa: N802
        del context
        count = await self._cancel.jobs(caller().client_id, filters.job_filter(request.filter), dry_run=request.dry_run)
        return pb.CancelJobsResponse(count=count)

    async def RetryJobs(self, request: pb.RetryJobsRequest, context: _Context) -> pb.RetryJobsResponse:  # noqa: N802
        query = filters.job_filter(request.filter)
        with self._tracing.span("submit", self._parent(context), kind=SpanKind.SERVER) as span:
            count = await self._again.jobs(
                caller().client_id,
                query,
                dry_run=request.dry_run,
                traceparent=span.traceparent,
                limits=caller().limits,
            )
        return pb.RetryJobsResponse(count=count)

    async def CreateJobLink(  # noqa: N802
        self, request: pb.CreateJobLinkRequest, context: _Context
    ) -> pb.CreateJobLinkResponse:
        del context
        lifetime = mapping.duration(request.lifetime) if request.HasField("lifetime") else None
        url, expire_time = await self._links.create(caller().client_id, request.job_id, lifetime)
        answer = pb.CreateJobLinkResponse(url=url)
        answer.expire_time.FromDatetime(expire_time)
        return answer

    async def GetUsage(self, request: pb.GetUsageRequest, context: _Context) -> pb.GetUsageResponse:  # noqa: N802
        del context
        rows = await self._usage.rows(
            caller().client_id,
            from_time=usage_mapping.time(request, "from"),
            to_time=usage_mapping.time(request, "to"),
            group_by=request.group_by,
        )
        return await usage_mapping.answer(rows, max_bytes=_ANSWER_BYTES)

    def _parent(self, context: _Context) -> str:
        """Return the caller's trace, or a new one."""
        return self._tracing.continue_or_begin(dict(context.invocation_metadata() or ()).get("traceparent"))

    async def _submitted(
        self, requests: Sequence[pb.SubmitJobRequest], context: _Context, *, path: str
    ) -> Sequence[Job]:
        with self._tracing.span("submit", self._parent(context), kind=SpanKind.SERVER) as span:
            submissions = [
                Submission(
                    draft=mapping.spec_draft(request.spec),
                    request_id=request.request_id,
                    path=path.format(index=index),
                    traceparent=span.traceparent,
                )
                for index, request in enumerate(requests)
            ]
            accepted = await self._submit.jobs(caller().client_id, submissions, limits=caller().limits)
            span.set({"visionjobs.job.id": [job_id for job_id, _ in accepted]})
        known_ids = sorted({job_id for job_id, job in accepted if job is None})
        jobs = {job.job_id: job for _, job in accepted if job is not None}
        if known_ids:
            known = await self._read.jobs(caller().client_id, known_ids, attempts=not path)
            jobs |= {job.job_id: job for job in known}
        return [jobs[job_id] for job_id, _ in accepted]

    async def _watched_ids(self, request: pb.WatchJobsRequest) -> list[str]:
        if bool(request.job_ids) == bool(request.labels):
            raise InvalidRequest([Violation("job_ids", "give either job_ids or labels")])
        if len(request.job_ids) > MAX_WATCHED:
            raise InvalidRequest([Violation("job_ids", f"must have at most {MAX_WATCHED} entries")])
        if request.job_ids:
            ids = list(dict.fromkeys(checked_ids(request.job_ids)))
            await self._read.jobs(caller().client_id, ids)
            return ids
        jobs, _ = await self._read.page(
            caller().client_id,
            JobQuery(labels=filters.labels(request.labels)),
            page_size=MAX_WATCHED,
            page_token="",
            attempts=False,
        )
        return [job.job_id for job in jobs]

    async def _watched(self, job_ids: Sequence[str], *, full: bool) -> AsyncIterator[job_pb2.Job]:
        async for job in self._watch.jobs(caller().client_id, job_ids, full=full):
            # The attempts are read when there is something to tell for good.
            whole = full and job.state.is_final
            current = await self._read.job(caller().client_id, job.job_id, attempts=True) if whole else job
            yield wire.job_to_proto(current, full=full)


def _is_full(view: job_pb2.JobView.ValueType, *, default: bool) -> bool:
    match view:
        case job_pb2.JOB_VIEW_UNSPECIFIED:
            return default
        case job_pb2.JOB_VIEW_BASIC:
            return False
        case job_pb2.JOB_VIEW_FULL:
            return True
        case _:
            raise InvalidRequest([Violation("view", "is not a JobView")])


def _fitting(jobs: Sequence[Job], *, full: bool) -> list[job_pb2.Job]:
    """Return the first jobs that fit into one answer."""
    messages: list[job_pb2.Job] = []
    size = 0
    for job in jobs:
        message = wire.job_to_proto(job, full=full)
        size += message.ByteSize() + 16
        if size > _ANSWER_BYTES:
            break
        messages.append(message)
    return messages
