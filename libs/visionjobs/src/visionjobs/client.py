"""The asynchronous client: every call of VisionJobService that a backend needs, typed, patient and traced."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from visionjobs import retrying
from visionjobs.calls import Calls
from visionjobs.change_calls import ChangeCalls
from visionjobs.errors import DeadlineExceeded, JobFailed, UnexpectedAnswer
from visionjobs.jobs import Image, Job, JobSpec, JobState, JobView, Result
from visionjobs.key_calls import KeyCalls
from visionjobs.lane_calls import LaneCalls
from visionjobs.mapping import answers, requests
from visionjobs.rpc_errors import translated
from visionjobs.tls import Tls
from visionjobs.usage_calls import UsageCalls
from visionjobs.v1 import vision_job_service_pb2 as service_pb2
from visionjobs.watching import follow

# Of one request's 32 MiB: what is left is for prompts and schemas.
INLINE_IMAGE_BYTES = 24 * 1024 * 1024

# Half of what a scheduler allows a client: another of its processes may upload, too.
_UPLOADS_AT_ONCE = 8


class AsyncClient(ChangeCalls, LaneCalls, KeyCalls, UsageCalls):
    """A client of the scheduler.

    A call that finds the scheduler unavailable, or comes too fast, is repeated until it answers or `timeout` is over.
    That is safe: reads change nothing, uploads are addressed by their content, every submission and retry carries a
    request_id, and what is cancelled, set or done again in bulk twice is so once. Only a new key or secret is asked for
    once.

    Make it inside a running event loop, and `close` it or use it as an `async with`.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        tls: Tls | bool | None = None,
        insecure: bool = False,
        timeout: timedelta = timedelta(seconds=30),
        on_retry: retrying.OnRetry | None = None,
    ) -> None:
        """Prepare; the first call connects.

        Args:
            address: host:port, or any gRPC target. Default: VISIONJOBS_ADDRESS, else 127.0.0.1:50051.
            api_key: Default: VISIONJOBS_API_KEY or what the file VISIONJOBS_API_KEY_FILE holds, read anew with each
                call; else none is sent.
            tls: Whether to call by TLS, and with which files. Default: VISIONJOBS_TLS, else whether one of
                VISIONJOBS_TLS_CA_FILE, VISIONJOBS_TLS_CERTIFICATE_FILE and VISIONJOBS_TLS_KEY_FILE is set.
            insecure: Send the key without TLS beyond this machine, too. VISIONJOBS_INSECURE=true says the same.
            timeout: Of one call with all its repetitions; of a watch, how long the scheduler may be away.
            on_retry: Gets the error and the length of the pause before each repetition.

        Raises:
            ValueError: The key holds characters that cannot be sent, or would be sent where others can read it; the
                address is none; or a file or a variable is not in order. No message shows the key.
        """
        self._calls = Calls(address, api_key, tls=tls, insecure=insecure, timeout=timeout, on_retry=on_retry)
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return self._calls.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End running calls and close the connection."""
        await self._calls.close()

    async def submit(self, spec: JobSpec, *, request_id: str | None = None) -> Job:
        """Hand over one job. It is durable when this returns.

        Images that do not fit in one request are uploaded first.

        Args:
            spec: What to do.
            request_id: The same id returns the same job for 24 h. Default: a new one.

        Raises:
            InvalidArgument: Its violations name the bad fields.
            AlreadyExists: The request_id belongs to a job with another spec.
        """
        [fitting] = await self._fitting([spec])
        request = requests.submit_request(fitting, request_id or str(uuid.uuid4()))
        answer = await self._calls.unary(self._calls.jobs.SubmitJob, request, fail_fast=spec.fail_fast)
        return answers.job(answer.job)

    async def submit_many(
        self, specs: Iterable[JobSpec], *, request_ids: Iterable[str] | None = None
    ) -> tuple[Job, ...]:
        """Hand over up to 1,000 jobs, all or none; the answers carry id, state and times only.

        Args:
            specs: What to do.
            request_ids: One for each spec. Default: new ones.

        Raises:
            InvalidArgument: Its violations name the bad fields as `requests[i].…`.
            ValueError: There are not as many ids as specs.
        """
        fitting = await self._fitting(list(specs))
        ids = [str(uuid.uuid4()) for _ in fitting] if request_ids is None else request_ids
        request = requests.submit_many_request(fitting, ids)
        answer = await self._calls.unary(
            self._calls.jobs.SubmitJobs, request, fail_fast=any(spec.fail_fast for spec in fitting)
        )
        return tuple(answers.job(job) for job in answer.jobs)

    async def upload_image(self, image: bytes | str | PathLike[str], *, mime_type: str = "") -> Image:
        """Store an image, given as its bytes or the path of a file, and return what names it in a JobSpec.

        Raises:
            InvalidArgument: It is not an image that the scheduler takes.
            OSError: The file cannot be read.
        """
        data = image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)

        async def attempt(seconds: float) -> service_pb2.UploadImageResponse:
            messages = requests.upload_requests(data, mime_type)
            with translated():
                return await self._calls.jobs.UploadImage(messages, timeout=seconds, metadata=self._calls.metadata())

        async with self._uploads:
            return answers.image((await retrying.repeat(attempt, self._calls.outage())).image)

    async def get(self, job_id: str, *, view: JobView = JobView.FULL) -> Job:
        """Return one job.

        Raises:
            NotFound: The caller has none of that id.
        """
        answer = await self._calls.unary(self._calls.jobs.GetJob, requests.get_request(job_id, view))
        return answers.job(answer.job)

    async def batch_get(self, job_ids: Iterable[str], *, view: JobView = JobView.BASIC) -> tuple[Job, ...]:
        """Return up to 100 jobs in the order of their ids.

        Raises:
            NotFound: One of them is missing.
            ResourceExhausted: The answer would be too large; its message says how many ids fit.
        """
        answer = await self._calls.unary(self._calls.jobs.BatchGetJobs, requests.batch_get_request(job_ids, view))
        return tuple(answers.job(job) for job in answer.jobs)

    async def list(
        self,
        *,
        user_id: str = "",
        states: Iterable[JobState] = (),
        labels: Mapping[str, str] | None = None,
        view: JobView = JobView.BASIC,
        page_size: int = 0,
    ) -> AsyncGenerator[Job, None]:
        """Yield the caller's jobs, newest first, over as many pages as there are.

        Args:
            user_id: Only jobs of this user.
            states: Only jobs in one of these states; none means all.
            labels: Only jobs that carry all of these.
            view: How much of each.
            page_size: How many jobs one call fetches; 0 leaves it to the scheduler.
        """
        wanted = tuple(states)
        page_token = ""
        while True:
            request = requests.list_request(
                user_id=user_id,
                states=wanted,
                labels=labels or {},
                page_size=page_size,
                page_token=page_token,
                view=view,
            )
            answer = await self._calls.unary(self._calls.jobs.ListJobs, request)
            for job in answer.jobs:
                yield answers.job(job)
            page_token = answer.next_page_token
            if not page_token:
                return

    def watch(self, job_id: str, *, view: JobView = JobView.BASIC) -> AsyncGenerator[Job, None]:
        """Yield the job as it is and then every change, until it is final.

        A watch that breaks goes on by itself. States may be skipped.

        Raises:
            NotFound: The caller has none of that id.
            Unavailable: The scheduler was away for longer than the timeout.
        """
        return follow(
            lambda _: self._calls.jobs.WatchJob(requests.watch_request(job_id, view), metadata=self._calls.metadata()),
            [job_id],
            self._calls.outage,
        )

    def watch_many(
        self, job_ids: Iterable[str] = (), *, labels: Mapping[str, str] | None = None, view: JobView = JobView.BASIC
    ) -> AsyncGenerator[Job, None]:
        """Yield many jobs as they are and then every change, until all are final. Give job_ids or labels.

        A watch that breaks goes on by itself; one by labels then takes in jobs that came since.

        Args:
            job_ids: At most 1,000.
            labels: All jobs, at most the newest 1,000, that carry these.
            view: How much of each.

        Raises:
            NotFound: The caller has none of one of the ids.
            Unavailable: The scheduler was away for longer than the timeout.
        """
        return follow(
            lambda ids: self._calls.jobs.WatchJobs(
                requests.watch_many_request(ids, labels or {}, view), metadata=self._calls.metadata()
            ),
            list(job_ids),
            self._calls.outage,
        )

    async def result(self, job_id: str, *, within: timedelta | None = None) -> Result:
        """Wait until the job is final and return what it gave.

        Args:
            job_id: Of a job that was submitted.
            within: How long to wait. Default: as long as it takes.

        Raises:
            JobFailed: It ended FAILED, CANCELLED or EXPIRED.
            DeadlineExceeded: It is not final yet; it goes on.
            NotFound: The caller has none of that id.
        """
        try:
            async with asyncio.timeout(None if within is None else within.total_seconds()):
                job = await self._final(job_id)
        except TimeoutError:
            raise DeadlineExceeded(f"The job {job_id} is not final yet.", code="DEADLINE_EXCEEDED") from None
        if job.state is not JobState.SUCCEEDED or job.result is None:
            raise JobFailed(job)
        return job.result

    async def submit_and_wait(
        self, spec: JobSpec, *, request_id: str | None = None, within: timedelta | None = None
    ) -> Result:
        """Hand over one job and return what it gave: `submit`, then `result`."""
        job = await self.submit(spec, request_id=request_id)
        return await self.result(job.job_id, within=within)

    async def _final(self, job_id: str) -> Job:
        async with contextlib.aclosing(self.watch(job_id)) as changes:
            async for job in changes:
                if job.state.is_final:
                    return job
        raise UnexpectedAnswer(f"The scheduler ended the watch of job {job_id} before the job was final.")

    async def _fitting(self, specs: Sequence[JobSpec]) -> Sequence[JobSpec]:
        """Return the specs as they are, or with uploaded images if together they are too large for one request."""
        size = sum(len(image.data or b"") for spec in specs for image in spec.images)
        if size <= INLINE_IMAGE_BYTES:
            return specs
        uploaded: dict[Image, Image] = {}
        for image in (image for spec in specs for image in spec.images):
            if image.data is not None and image not in uploaded:
                uploaded[image] = await self.upload_image(image.data, mime_type=image.mime_type)
        return [replace(spec, images=[uploaded.get(image, image) for image in spec.images]) for spec in specs]
