"""Takes jobs in: check everything, store the images, store the jobs, wake the dispatcher."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler import spec_json
from scheduler.errors import InvalidRequest, Stopping, Violation
from scheduler.image_cache import ImageCache
from scheduler.image_header import ImageRefused
from scheduler.job_ids import JobIds
from scheduler.jobs import ImageRef, Job, JobSpec, JobState, NewImage, NewJob
from scheduler.ports import StoreClock, SubmissionStore
from scheduler.validation import CheckedSpec, Defaults, SpecDraft, check_request_id, check_spec, new_image

MAX_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One request to take a job in.

    Attributes:
        path: Where it stands in the caller's request: "" or "requests[i]".
        traceparent: W3C trace context of the submission.
    """

    draft: SpecDraft
    request_id: str
    path: str
    traceparent: str

    def path_to(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


class Submit:
    """The use case. A submission that was answered is durable."""

    def __init__(
        self,
        *,
        store: SubmissionStore,
        time: StoreClock,
        ids: JobIds,
        images: ImageCache,
        defaults: Defaults,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._time = time
        self._ids = ids
        self._images = images
        self._defaults = defaults
        self._wake = wake
        self._stopping = False

    def stop(self) -> None:
        """Refuse submissions from now on."""
        self._stopping = True

    async def jobs(self, client_id: str, submissions: Sequence[Submission]) -> Sequence[tuple[str, Job | None]]:
        """Take all jobs in, or none.

        Returns:
            For each submission the job's id, and the job itself if it is new: None stands for a job that an earlier
            submission with the same request_id made.

        Raises:
            InvalidRequest: Some fields are bad.
            RequestIdReused: A request_id was used with another spec.
            Stopping: This scheduler is going away.
        """
        if self._stopping:
            raise Stopping("This scheduler is stopping.")
        if not 0 < len(submissions) <= MAX_BATCH:
            raise InvalidRequest([Violation("requests", f"must have 1 to {MAX_BATCH} entries")])
        checked = await self._check(submissions)
        specs = await self._resolve_images(client_id, submissions, checked)
        new_images = [image for spec in checked for image in spec.new_images]
        if new_images:
            await self._store_images(client_id, new_images)
        jobs = [self._new_job(submission, spec) for submission, spec in zip(submissions, specs, strict=True)]
        ids = await self._store.insert_jobs(client_id, jobs)
        self._wake()
        return [
            (job_id, _accepted(client_id, job) if job.job_id == job_id else None)
            for job_id, job in zip(ids, jobs, strict=True)
        ]

    async def image(self, client_id: str, data: bytes, mime_type: str) -> ImageRef:
        """Store an image for later submissions. Raises InvalidRequest for one that is refused."""
        if self._stopping:
            raise Stopping("This scheduler is stopping.")
        try:
            image = new_image(data, mime_type, self._defaults.image_limits)
        except ImageRefused as refusal:
            path = "metadata.mime_type" if refusal.field == "mime_type" else "chunk"
            raise InvalidRequest([Violation(path, str(refusal))]) from None
        await self._store_images(client_id, [image])
        return image.ref

    async def _check(self, submissions: Sequence[Submission]) -> list[CheckedSpec]:
        checked: list[CheckedSpec] = []
        violations: list[Violation] = []
        for submission in submissions:
            violations += check_request_id(submission.request_id, submission.path_to("request_id"))
            outcome = check_spec(submission.draft, submission.path_to("spec"), self._defaults)
            if isinstance(outcome, CheckedSpec):
                checked.append(outcome)
            else:
                violations += outcome
            # A dense schema takes a tenth of a second, and a batch may bring a thousand of them.
            await asyncio.sleep(0)
        if violations:
            raise InvalidRequest(violations)
        return checked

    async def _resolve_images(
        self, client_id: str, submissions: Sequence[Submission], checked: Sequence[CheckedSpec]
    ) -> list[JobSpec]:
        """Give images that were named by their hash the type and size that the store knows."""
        named = {image.sha256 for spec in checked for image in spec.spec.images if not image.size}
        if not named:
            return [spec.spec for spec in checked]
        known = await self._store.find_images(client_id, named)
        violations = [
            Violation(submission.path_to(f"spec.images[{index}].sha256"), "is unknown; upload the image first")
            for submission, spec in zip(submissions, checked, strict=True)
            for index, image in enumerate(spec.spec.images)
            if not image.size and image.sha256 not in known
        ]
        if violations:
            raise InvalidRequest(violations)
        return [
            dataclasses.replace(
                spec.spec, images=tuple(image if image.size else known[image.sha256] for image in spec.spec.images)
            )
            for spec in checked
        ]

    async def _store_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        await self._store.put_images(client_id, images)
        for image in images:
            self._images.put(client_id, image.ref.sha256, image.data)

    def _new_job(self, submission: Submission, spec: JobSpec) -> NewJob:
        now = self._time.now()
        return NewJob(
            job_id=self._ids.next(now),
            spec=spec,
            request_id=submission.request_id,
            spec_hash=spec_json.sha256(spec),
            create_time=now,
            traceparent=submission.traceparent,
        )


def _accepted(client_id: str, job: NewJob) -> Job:
    return Job(
        job_id=job.job_id,
        client_id=client_id,
        spec=job.spec,
        traceparent=job.traceparent,
        state=JobState.QUEUED,
        create_time=job.create_time,
    )
