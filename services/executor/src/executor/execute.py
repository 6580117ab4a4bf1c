"""Makes one attempt: images local → call → validate → outcome."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

from opentelemetry.trace import SpanKind

from executor import telemetry, validation
from executor.ports import Answer, CallFailed, ImageSource, ImageUnavailable, ModelClient
from executor.work import (
    Assignment,
    AttemptId,
    Failed,
    ImageRef,
    Outcome,
    Released,
    Stage,
    Succeeded,
    Usage,
    Verdict,
)
from runtime import logs
from runtime.clock import Clock
from runtime.tracing import Span, Tracing

ReportStage = Callable[[AttemptId, Stage], None]

_MAX_RAW_ANSWER = 64 * 1024
_FETCH_SECONDS = 60.0

_log = logs.get_logger(__name__)


class Attempts:
    """Begins attempts: holds what all of them share."""

    def __init__(
        self,
        *,
        model: ModelClient,
        images: ImageSource,
        clock: Clock,
        tracing: Tracing,
        report_stage: ReportStage,
        max_cached_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.model = model
        self.images = _ImageCache(images, max_cached_bytes)
        self.clock = clock
        self.tracing = tracing
        self.report_stage = report_stage

    def begin(self, assignment: Assignment) -> "Attempt":
        return Attempt(assignment, self)


class Attempt:
    """One attempt. `run` it once; `stop` it from outside."""

    def __init__(self, assignment: Assignment, shared: Attempts) -> None:
        self._assignment = assignment
        self._shared = shared
        self._scope = asyncio.timeout(None)
        self._entered = False
        self._stopped_because: str | None = None
        self._stage = Stage.STARTING
        self._stage_began = shared.clock.monotonic()
        self._stage_seconds: dict[Stage, float] = {}
        self.refuses_key = False

    @property
    def call_begun(self) -> bool:
        """Whether a call may be under way, or have been made."""
        return self._stage >= Stage.GEMINI_ANALYZING

    def stop(self, reason: str) -> None:
        """End the attempt now; a running call is broken off."""
        self._stopped_because = reason
        if self._entered:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> Outcome:
        """Make the attempt. Only a cancellation of the task leaves it without an outcome."""
        with self._shared.tracing.span(
            telemetry.ATTEMPT,
            self._assignment.traceparent,
            attributes=telemetry.attempt_attributes(self._assignment),
        ) as span:
            try:
                async with self._scope:
                    self._entered = True
                    if self._stopped_because is not None:
                        raise TimeoutError
                    answer, verdict = await self._work(span)
                return self._outcome(span, verdict, paid=True, usage=answer.usage, model_version=answer.model_version)
            except CallFailed as failure:
                self.refuses_key = failure.refuses_key
                return self._outcome(
                    span,
                    failure.verdict,
                    paid=failure.paid,
                    usage=failure.usage,
                    model_version=failure.model_version,
                )
            except ImageUnavailable as missing:
                return self._outcome(span, Failed(kind="IMAGE_UNAVAILABLE", message=str(missing), retryable=True))
            except TimeoutError:
                return self._outcome(span, self._stopped(), paid=self.call_begun)
            except Exception as error:  # noqa: BLE001 - see below
                # Whatever a provider or an image can contain must not end the executor.
                _log.exception("attempt_crashed", job_id=self._assignment.attempt_id.job_id)
                verdict = Failed(
                    kind="INTERNAL", message=f"The executor failed: {type(error).__name__}", retryable=True
                )
                return self._outcome(span, verdict, paid=self.call_begun)

    async def _work(self, span: Span) -> tuple[Answer, Verdict]:
        images = await self._images()
        answer = await self._call(span, images)
        return answer, self._validate(answer)

    async def _images(self) -> Sequence[tuple[str, bytes]]:
        self._enter(Stage.FETCHING_IMAGE)
        return [(image.mime_type, await self._image(image)) for image in self._assignment.images]

    async def _image(self, image: ImageRef) -> bytes:
        inline = self._assignment.inline_images.get(image.sha256)
        if inline is not None:
            return inline
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                return await self._shared.images.get(self._assignment.attempt_id.job_id, image.sha256)
        except TimeoutError:
            raise ImageUnavailable("The scheduler did not deliver an image in time.") from None

    async def _call(self, span: Span, images: Sequence[tuple[str, bytes]]) -> Answer:
        self._enter(Stage.GEMINI_ANALYZING)
        assignment = self._assignment
        with self._shared.tracing.span(
            telemetry.call_name(assignment),
            span.traceparent,
            kind=SpanKind.CLIENT,
            attributes=telemetry.call_attributes(assignment),
        ) as call:
            try:
                answer = await self._shared.model.analyze(assignment, images)
            except CallFailed as failure:
                call.set(telemetry.usage_attributes(failure.usage, failure.model_version))
                call.fail(getattr(failure.verdict, "kind", type(failure.verdict).__name__), str(failure.verdict))
                raise
            call.set(telemetry.answer_attributes(answer))
            return answer

    def _validate(self, answer: Answer) -> Verdict:
        self._enter(Stage.VALIDATING)
        try:
            return Succeeded(validation.validated(answer.text, self._assignment.schema_json))
        except validation.InvalidAnswer as invalid:
            return Failed(
                kind="INVALID_OUTPUT",
                message=str(invalid),
                retryable=True,
                raw_answer=answer.text[:_MAX_RAW_ANSWER],
            )

    def _stopped(self) -> Verdict:
        reason = self._stopped_because or "The attempt was stopped."
        if self.call_begun:
            return Failed(kind="CANCELLED", message=reason, retryable=True)
        return Released(reason)

    def _enter(self, stage: Stage) -> None:
        self._leave_stage()
        self._stage = stage
        self._shared.report_stage(self._assignment.attempt_id, stage)

    def _leave_stage(self) -> None:
        now = self._shared.clock.monotonic()
        self._stage_seconds[self._stage] = now - self._stage_began
        self._stage_began = now

    def _outcome(
        self, span: Span, verdict: Verdict, *, paid: bool = False, usage: Usage | None = None, model_version: str = ""
    ) -> Outcome:
        self._leave_stage()
        if isinstance(verdict, Failed):
            span.fail(verdict.kind, verdict.message)
        return Outcome(
            attempt_id=self._assignment.attempt_id,
            verdict=verdict,
            finish_time=self._shared.clock.now(),
            traceparent=span.traceparent,
            usage=usage,
            model_version=model_version,
            stage_seconds=self._stage_seconds,
            paid=paid,
        )


class _ImageCache:
    """Fetched images, least recently used, bounded in bytes: several jobs over one image fetch it once."""

    def __init__(self, source: ImageSource, max_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_bytes
        self._size = 0
        self._images: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, job_id: str, sha256: str) -> bytes:
        cached = self._images.get(sha256)
        if cached is not None:
            self._images.move_to_end(sha256)
            return cached
        data = await self._source.fetch(job_id, sha256)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ImageUnavailable("An image arrived damaged.")
        if sha256 not in self._images:
            self._images[sha256] = data
            self._size += len(data)
        while self._size > self._max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._size -= len(dropped)
        return data
