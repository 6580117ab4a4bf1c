"""Turns claimed jobs into assignments, each on its executor's stream: the step's texts, input, options and small images.

A claimed job that cannot go out is never lost: it waits again, or ends where its provider would refuse it anyway.
"""

import datetime
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime import logs
from runtime.clock import Clock
from runtime.tracing import Attributes, Tracing
from scheduler.errors import StoreUnavailable
from scheduler.estimates import UNKNOWN, ask_of
from scheduler.fleet import Assignment, Fleet, Held
from scheduler.image_cache import INLINE_BYTES, INLINE_BYTES_A_JOB, ImageCache
from scheduler.jobs import JobError, JobSpec, Stage
from scheduler.outcomes import Failed, Outcome
from scheduler.ports import ClaimStore, StoreClock
from scheduler.records import AttemptId, ClaimedJob, Refused, RefusedKind, RunningJob, Slots
from scheduler.refusals import Refusals
from scheduler.steps import STANDARD, spec_of_attempt
from scheduler.watch import WatchHub

_INPUT_PAUSE = datetime.timedelta(seconds=1)
"""After which a job is tried again whose input could not be read."""

_IMAGES_SECONDS = 0.25
"""How long a dispatch waits for small images that are not in the database; executors fetch the others themselves."""

_KINDS = {RefusedKind.SCHEMA: "SCHEMA_STOPPED", RefusedKind.IMAGE: "BAD_IMAGE"}
_REASONS = {
    RefusedKind.SCHEMA: "The provider refused requests with this schema again and again.",
    RefusedKind.IMAGE: "One of its images could not be read again and again.",
}

_log = logs.get_logger(__name__)


GiveBack = Callable[[Mapping[AttemptId, RunningJob], str, datetime.timedelta | None], Awaitable[None]]
"""Lets jobs wait again that never went out, for this reason, at once or after a while. Raises StoreUnavailable."""

End = Callable[[Sequence[Outcome]], Awaitable[None]]
"""Ends attempts that never went out."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """Claimed jobs that do not go out: their stream broke, their input is missing, or they would be refused."""

    stranded: dict[AttemptId, RunningJob] = field(default_factory=dict)
    without_input: dict[AttemptId, RunningJob] = field(default_factory=dict)
    refused: list[Outcome] = field(default_factory=list)


class Assigner:
    """The use case."""

    def __init__(
        self,
        *,
        store: ClaimStore,
        time: StoreClock,
        clock: Clock,
        fleet: Fleet,
        images: ImageCache,
        refusals: Refusals,
        hub: WatchHub,
        tracing: Tracing,
        give_back: GiveBack,
        end: End,
        low_priority_tier: str = STANDARD,
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._fleet = fleet
        self._images = images
        self._refusals = refusals
        self._hub = hub
        self._tracing = tracing
        self._give_back = give_back
        self._end = end
        self._low_priority_tier = low_priority_tier

    async def send(self, claimed: Sequence[ClaimedJob]) -> None:
        """Put the jobs on the streams they were claimed for. Raises StoreUnavailable where one cannot be given back."""
        if not claimed:
            return
        inputs = await self._inputs(claimed)
        images = await self._small_images(claimed)
        now = self._time.now()
        unsent = _Unsent()
        for job in claimed:
            if self._fleet.get(job.executor_id, job.session) is None:
                # The stream broke meanwhile.
                unsent.stranded[job.attempt_id] = _running(job)
            elif job.step > 1 and job.attempt_id.job_id not in inputs:
                unsent.without_input[job.attempt_id] = _running(job)
            elif refused := self._refusals.refusal(job.client_id, job.spec, job.lane):
                unsent.refused.append(_refused(job, refused))
            else:
                self._assign(job, inputs.get(job.attempt_id.job_id, ""), images, now)
        await self._take_back(claimed, unsent)

    def _assign(
        self, job: ClaimedJob, input_json: str, images: Mapping[tuple[str, str], bytes], now: datetime.datetime
    ) -> None:
        session = self._fleet.get(job.executor_id, job.session)
        if session is None:
            return
        spec = spec_of_attempt(
            job.spec,
            step=job.step,
            rank=job.rank,
            flaws=job.flaws,
            retry_count=job.retry_count,
            low_priority_tier=self._low_priority_tier,
        )
        session.held[job.attempt_id] = Held(
            lane=job.lane,
            order=(job.rank, job.seq),
            ask=ask_of(spec, day=now.date(), input_json=input_json) if job.permit_required else UNKNOWN,
            sent=self._clock.monotonic(),
        )
        session.outbox.put(
            Assignment(
                job=job,
                spec=spec,
                steps=len(job.spec.lanes),
                input_json=input_json,
                images=_inlined(job.client_id, spec, images),
                traceparent=self._trace(job, now),
                start_within=job.spec.expire_time - now if job.spec.expire_time else None,
            )
        )
        self._hub.stage_entered(job.attempt_id, Stage.STARTING, job.start_time)

    async def _take_back(self, claimed: Sequence[ClaimedJob], unsent: _Unsent) -> None:
        """Let what did not go out wait again, or end it; its slots are free."""
        ended = {outcome.attempt_id for outcome in unsent.refused}
        over = {*unsent.stranded, *unsent.without_input, *ended}
        if not over:
            return
        self._fleet.unreserve([Slots(job.executor_id, job.session, 1) for job in claimed if job.attempt_id in over])
        if unsent.refused:
            await self._end(unsent.refused)
        if unsent.stranded:
            await self._give_back(unsent.stranded, "Its stream broke before it was sent.", None)
        if unsent.without_input:
            _log.error("step_inputs_missing", jobs=len(unsent.without_input))
            reason = "What its first step gave could not be read."
            await self._give_back(unsent.without_input, reason, _INPUT_PAUSE)

    async def _inputs(self, claimed: Sequence[ClaimedJob]) -> Mapping[str, str]:
        """Return what the first step gave, of the jobs that have passed it."""
        later = [job.attempt_id.job_id for job in claimed if job.step > 1]
        if not later:
            return {}
        try:
            return await self._store.step_outputs(later)
        except StoreUnavailable as error:
            _log.warning("step_inputs_wait_for_database", jobs=len(later), error=str(error))
            return {}

    async def _small_images(self, claimed: Sequence[ClaimedJob]) -> dict[tuple[str, str], bytes]:
        found: dict[tuple[str, str], bytes] = {}
        missing: defaultdict[str, set[str]] = defaultdict(set)
        for job in claimed:
            for image in job.spec.images if job.step == 1 else ():
                if not image.sha256 or image.size > INLINE_BYTES:
                    continue
                data = self._images.get(job.client_id, image.sha256)
                if data is None:
                    missing[job.client_id].add(image.sha256)
                else:
                    found[job.client_id, image.sha256] = data
        generation = self._images.generation
        until = self._clock.monotonic() + _IMAGES_SECONDS
        for client_id, hashes in missing.items():
            within = datetime.timedelta(seconds=max(0.0, until - self._clock.monotonic()))
            try:
                stored = await self._store.get_images(client_id, hashes, within=within)
            except StoreUnavailable:
                # The jobs are claimed: they go out all the same, and the executor fetches the image itself.
                continue
            for sha256, data in stored.items():
                found[client_id, sha256] = data
                self._images.put(client_id, sha256, data, generation)
        return found

    def _trace(self, job: ClaimedJob, now: datetime.datetime) -> str:
        """Record the wait and the dispatch, and return the context for the executor."""
        if not self._tracing.recording:
            return job.traceparent
        attributes: Attributes = {
            "visionjobs.job.id": job.attempt_id.job_id,
            "visionjobs.job.attempt": job.attempt_id.attempt,
            "visionjobs.job.lane": job.lane,
            "visionjobs.executor.id": job.executor_id,
        }
        self._tracing.record(
            "queue wait", job.traceparent, start=job.queued_time, end=job.start_time, attributes=attributes
        )
        return self._tracing.record(
            "dispatch", job.traceparent, start=job.start_time, end=max(now, job.start_time), attributes=attributes
        )


def _inlined(client_id: str, spec: JobSpec, images: Mapping[tuple[str, str], bytes]) -> dict[str, bytes]:
    """Return those of a job's small images that go along."""
    inlined: dict[str, bytes] = {}
    room = INLINE_BYTES_A_JOB
    for sha256 in {image.sha256: None for image in spec.images}:
        data = images.get((client_id, sha256))
        if data is not None and len(data) <= room:
            inlined[sha256] = data
            room -= len(data)
    return inlined


def _running(job: ClaimedJob) -> RunningJob:
    """Return what the loss of a job needs to know that was never sent: nothing was paid, nobody died."""
    return RunningJob(
        lane=job.lane,
        executor_id=job.executor_id,
        session=job.session,
        stage=Stage.STARTING,
        retry_count=job.retry_count,
        max_retries=job.spec.max_retries,
        paid_calls=0,
        preparing_deaths=0,
        expire_time=job.spec.expire_time,
        step=job.step,
        flaws=job.flaws,
    )


def _refused(job: ClaimedJob, refused: Refused) -> Outcome:
    """Return the end of a job that its provider would refuse: it costs nothing, and tells nothing of the lane."""
    message = f"{_REASONS[refused.kind]} No call was made."
    return Outcome(
        attempt_id=job.attempt_id,
        verdict=Failed(JobError(kind=_KINDS[refused.kind], message=message, retryable=False)),
        usage=None,
        model_version="",
        stage_seconds={},
        paid=False,
        traceparent=job.traceparent,
        step=job.step,
        steps=len(job.spec.lanes),
        lane=job.lane,
    )
