"""Takes jobs in: check everything, store the images, store the jobs, wake the dispatchers."""

import asyncio
import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from runtime import logs
from scheduler import spec_json
from scheduler.board import Board
from scheduler.callers import UNLIMITED, SubmissionLimits
from scheduler.drafts import SpecDraft
from scheduler.errors import (
    ImagesMissing,
    InvalidRequest,
    NotAccepting,
    PriorityNotAllowed,
    RateLimited,
    Stopping,
    StoreUnavailable,
    Violation,
)
from scheduler.image_cache import ImageCache
from scheduler.image_header import ImageRefused
from scheduler.job_ids import JobIds
from scheduler.jobs import ImageRef, Job, JobSpec, JobState, NewImage, NewJob
from scheduler.lane_check import check_lanes
from scheduler.ports import StoreClock, SubmissionStore
from scheduler.records import Accepted
from scheduler.refusals import Refusals
from scheduler.signals import Signals
from scheduler.validation import (
    DEFAULT_PRIORITY,
    CheckedSpec,
    Defaults,
    check_request_id,
    check_spec,
    new_image,
)

MAX_BATCH = 1_000
_LEAST_PRIORITY = 3
# A large batch holds the event loop for a while, again and again; two at a time leave room for running work.
_LARGE_BATCH = 50
_LARGE_AT_ONCE = 2

_log = logs.get_logger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """A job to do again; its spec was valid before. One that passed its first step may begin at its second."""

    spec: JobSpec
    request_id: str
    retried_from: str
    step: int = 1


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
        board: Board,
        refusals: Refusals,
        signals: Signals,
        wake: Callable[[], None],
        expect_due: Callable[[datetime.datetime], None],
    ) -> None:
        self._store = store
        self._time = time
        self._ids = ids
        self._images = images
        self._defaults = defaults
        self._board = board
        self._refusals = refusals
        self._signals = signals
        self._wake = wake
        self._expect_due = expect_due
        self._stopping = False
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    def stop(self) -> None:
        """Refuse submissions from now on."""
        self._stopping = True

    async def jobs(
        self, client_id: str, submissions: Sequence[Submission], *, limits: SubmissionLimits = UNLIMITED
    ) -> Sequence[tuple[str, Job | None]]:
        """Take all jobs in, or none.

        Returns:
            For each submission the job's id, and the job itself if it is new and waits: None stands for a job that an
            earlier submission with the same request_id made, or that a recent result answered.

        Raises:
            InvalidRequest: Some fields are bad.
            PriorityNotAllowed: The caller may not ask for such urgent work.
            RateLimited: The caller submits too fast.
            QueueFull: The caller has too many jobs in the queue.
            RequestIdReused: A request_id was used with another spec.
            BreakerOpen: A job that asked to fail fast would have to wait for its provider.
            NotAccepting: An operator closed the door.
            Stopping: This scheduler is going away.
        """
        self._check_open()
        if not 0 < len(submissions) <= MAX_BATCH:
            raise InvalidRequest([Violation("requests", f"must have 1 to {MAX_BATCH} entries")])
        async with self._turn(len(submissions)):
            return await self._take_in(client_id, submissions, limits)

    async def _take_in(
        self, client_id: str, submissions: Sequence[Submission], limits: SubmissionLimits
    ) -> Sequence[tuple[str, Job | None]]:
        checked = await self._check(client_id, [_with_priority(each, limits) for each in submissions])
        for submission, spec in zip(submissions, checked, strict=True):
            _check_priority(spec.spec, limits, submission.path_to("spec.priority"))
        await self._pace(client_id, len(submissions), limits)
        try:
            return await self._store_all(client_id, submissions, checked, limits)
        except ImagesMissing:
            # A purge took them in between. Those that came along are stored again, of others their client is told.
            return await self._store_all(client_id, submissions, checked, limits)

    async def _store_all(
        self,
        client_id: str,
        submissions: Sequence[Submission],
        checked: Sequence[CheckedSpec],
        limits: SubmissionLimits,
    ) -> Sequence[tuple[str, Job | None]]:
        specs = await self._resolve_images(client_id, submissions, checked)
        new_images = [image for spec in checked for image in spec.new_images]
        if new_images:
            await self._store_images(client_id, new_images)
        jobs = [self._new_job(client_id, submission, spec) for submission, spec in zip(submissions, specs, strict=True)]
        return await self._insert(client_id, jobs, limits)

    async def again(
        self,
        client_id: str,
        repetitions: Sequence[Repetition],
        *,
        traceparent: str,
        limits: SubmissionLimits = UNLIMITED,
    ) -> Sequence[tuple[str, Job | None]]:
        """Take jobs in that were there before. Returns and raises as `jobs`."""
        self._check_open()
        violations = [
            violation for each in repetitions for violation in check_request_id(each.request_id, "request_id")
        ]
        if violations:
            raise InvalidRequest(violations)
        for each in repetitions:
            _check_priority(each.spec, limits, f"The job {each.retried_from}")
        await self._pace(client_id, len(repetitions), limits)
        jobs = [self._repeated(client_id, each, traceparent) for each in repetitions]
        return await self._insert(client_id, jobs, limits)

    def _turn(self, count: int) -> AbstractAsyncContextManager[None]:
        """Let large batches go two at a time, and the others at once."""
        return self._large if count > _LARGE_BATCH else contextlib.nullcontext()

    async def _pace(self, client_id: str, count: int, limits: SubmissionLimits) -> None:
        if limits.per_second is not None:
            wait = await self._store.pace(client_id, count, per_second=limits.per_second)
            if wait is not None:
                raise RateLimited(limits.per_second, wait)

    async def _insert(
        self, client_id: str, jobs: Sequence[NewJob], limits: SubmissionLimits
    ) -> Sequence[tuple[str, Job | None]]:
        """Store jobs, and see that somebody takes them."""
        accepted = await self._store.insert_jobs(client_id, jobs, max_queued=limits.max_queued)
        for job, place in zip(jobs, accepted, strict=True):
            if job.due_time is not None:
                self._expect_due(job.due_time)
            elif job.spec.expire_time is not None:
                self._expect_due(job.spec.expire_time)
            if place.leader is not None and job.spec.priority < _LEAST_PRIORITY:
                await self._raise_leader(place.leader, job.spec.priority)
        self._wake()
        self._signals.announce()
        return [
            (place.job_id, None if place.is_known or place.is_cached else _accepted(client_id, job, place))
            for job, place in zip(jobs, accepted, strict=True)
        ]

    async def _raise_leader(self, job_id: str, rank: int) -> None:
        """Let the leader of an urgent follower be as urgent. The follower is stored in any case."""
        try:
            await self._store.raise_leader(job_id, rank)
        except StoreUnavailable as error:
            _log.warning("leader_not_raised", job_id=job_id, rank=rank, error=str(error))

    def _check_open(self) -> None:
        if self._stopping:
            raise Stopping("This scheduler is stopping.")
        if not self._board.is_accepting:
            raise NotAccepting("An operator closed the door for submissions.")

    async def image(self, client_id: str, data: bytes, mime_type: str) -> ImageRef:
        """Store an image for later submissions. Raises InvalidRequest for one that is refused."""
        self._check_open()
        try:
            image = new_image(data, mime_type, self._defaults.image_limits)
        except ImageRefused as refusal:
            path = "metadata.mime_type" if refusal.field == "mime_type" else "chunk"
            raise InvalidRequest([Violation(path, str(refusal))]) from None
        await self._store_images(client_id, [image])
        return image.ref

    async def _check(self, client_id: str, submissions: Sequence[Submission]) -> list[CheckedSpec]:
        checked: list[CheckedSpec] = []
        violations: list[Violation] = []
        now = self._time.now()
        for submission in submissions:
            violations += check_request_id(submission.request_id, submission.path_to("request_id"))
            outcome = check_spec(submission.draft, submission.path_to("spec"), self._defaults, now=now)
            if isinstance(outcome, CheckedSpec):
                checked.append(outcome)
                violations += check_lanes(outcome.spec, submission.path_to("spec"), self._board, now=now)
                violations += self._check_refusals(client_id, outcome.spec, submission)
            else:
                violations += outcome
            # A dense schema takes a tenth of a second, and a batch may bring a thousand of them.
            await asyncio.sleep(0)
        if violations:
            raise InvalidRequest(violations)
        return checked

    def _check_refusals(self, client_id: str, spec: JobSpec, submission: Submission) -> list[Violation]:
        """Refuse what the provider has refused again and again."""
        fields = ["sha256" if image.data is None else "data" for image in submission.draft.images]
        return self._refusals.violations(client_id, spec, submission.path_to("spec"), fields)

    async def _resolve_images(
        self, client_id: str, submissions: Sequence[Submission], checked: Sequence[CheckedSpec]
    ) -> list[JobSpec]:
        """Give images that were named by their hash the type and size that the store knows."""
        named = {image.sha256 for spec in checked for image in spec.spec.images if _is_named(image)}
        if not named:
            return [spec.spec for spec in checked]
        known = await self._store.find_images(client_id, named)
        violations = [
            Violation(submission.path_to(f"spec.images[{index}].sha256"), "is unknown; upload the image first")
            for submission, spec in zip(submissions, checked, strict=True)
            for index, image in enumerate(spec.spec.images)
            if _is_named(image) and image.sha256 not in known
        ]
        if violations:
            raise InvalidRequest(violations)
        return [
            dataclasses.replace(
                spec.spec,
                images=tuple(known[image.sha256] if _is_named(image) else image for image in spec.spec.images),
            )
            for spec in checked
        ]

    async def _store_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        generation = self._images.generation
        await self._store.put_images(client_id, images)
        for image in images:
            self._images.put(client_id, image.ref.sha256, image.data, generation)

    def _new_job(self, client_id: str, submission: Submission, spec: JobSpec) -> NewJob:
        now = self._time.now()
        return NewJob(
            job_id=self._ids.next(now),
            spec=spec,
            request_id=submission.request_id,
            spec_hash=spec_json.sha256(spec),
            create_time=now,
            traceparent=submission.traceparent,
            dedup_key=spec_json.dedup_key(client_id, spec),
        )

    def _repeated(self, client_id: str, repetition: Repetition, traceparent: str) -> NewJob:
        now = self._time.now()
        spec = repetition.spec
        return NewJob(
            job_id=self._ids.next(now),
            spec=spec,
            request_id=repetition.request_id,
            # A request_id belongs to the job that is done again, however alike others are.
            spec_hash=spec_json.sha256(spec) + repetition.retried_from.encode(),
            create_time=now,
            traceparent=traceparent,
            dedup_key=spec_json.dedup_key(client_id, spec),
            retried_from=repetition.retried_from,
            step=repetition.step,
        )


def _is_named(image: ImageRef) -> bool:
    """Say whether an image was named by its hash, and not more is known of it yet."""
    return not image.size and not image.uri


def _with_priority(submission: Submission, limits: SubmissionLimits) -> Submission:
    """Let a job that names no priority be as urgent as jobs are, or as its caller may ask for if that is less."""
    if submission.draft.priority or limits.max_priority is None:
        return submission
    priority = max(DEFAULT_PRIORITY, limits.max_priority)
    return dataclasses.replace(submission, draft=dataclasses.replace(submission.draft, priority=priority))


def _check_priority(spec: JobSpec, limits: SubmissionLimits, path: str) -> None:
    if limits.max_priority is not None and spec.priority < limits.max_priority:
        raise PriorityNotAllowed(path, spec.priority, limits.max_priority)


def _accepted(client_id: str, job: NewJob, place: Accepted) -> Job:
    return Job(
        job_id=job.job_id,
        client_id=client_id,
        spec=job.spec,
        traceparent=job.traceparent,
        state=JobState.SCHEDULED if job.due_time else JobState.QUEUED,
        create_time=job.create_time,
        step=job.step,
        next_attempt_time=job.due_time,
        leader=place.leader,
        retried_from=job.retried_from,
    )
