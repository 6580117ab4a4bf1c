"""One attempt from its assignment to its outcome: images local → leave to call → call → validate."""

from typing import Protocol

from executor import spans, verdicts
from executor.attempt import Attempt, Interrupted
from executor.call_gate import CallGate
from executor.images import LocalImages
from executor.ports import (
    ConnectionBroken,
    ImageRefused,
    ModelAnswer,
    ModelClient,
    ModelError,
    ModelImage,
    ModelRequest,
    Progress,
    ProviderRefused,
    UnreadableAnswer,
)
from executor.provider_key import ProviderKey
from executor.spans import Spans
from executor.validation import InvalidOutput, UnusableSchema, Validator, Validators
from executor.work import Failed, Outcome, Released, Stage, Succeeded, Verdict
from runtime.clock import Clock


class ProgressReport(Protocol):
    """Where stages are told."""

    def enter(self, progress: Progress) -> None:
        """Tell of a stage."""
        ...


class Execute:
    """The use case."""

    def __init__(
        self,
        *,
        model: ModelClient,
        images: LocalImages,
        validators: Validators,
        progress: ProgressReport,
        gate: CallGate,
        key: ProviderKey,
        spans: Spans,
        clock: Clock,
    ) -> None:
        self._model = model
        self._images = images
        self._validators = validators
        self._progress = progress
        self._gate = gate
        self._key = key
        self._spans = spans
        self._clock = clock

    async def run(self, attempt: Attempt) -> Outcome | None:
        """Return how the attempt ended; None if it goes back as its scheduler wished."""
        with self._spans.attempt(attempt.assignment) as span:
            verdict = await self._verdict(attempt, span.traceparent)
            finish_time = attempt.finish()
            spans.describe_verdict(span, verdict)
        if verdict is None:
            return None
        answer = attempt.answer
        return Outcome(
            attempt_id=attempt.attempt_id,
            verdict=verdict,
            usage=answer.usage if answer else None,
            model_version=answer.model_version if answer else "",
            stage_seconds=attempt.stage_seconds,
            paid=attempt.paid,
            traceparent=span.traceparent,
            finish_time=finish_time,
        )

    async def _verdict(self, attempt: Attempt, traceparent: str) -> Verdict | None:
        try:
            async with attempt.under_way():
                # Before anything is paid for: an answer that cannot be checked is worth nothing.
                validator = self._validators.of(attempt.assignment.schema_json)
                images = await self._make_images_local(attempt)
                answer = await self._call(attempt, images, traceparent)
                return self._validate(attempt, answer, validator)
        except (TimeoutError, Interrupted):
            return verdicts.of_interruption(attempt)
        except UnusableSchema as error:
            return Failed(kind="BAD_REQUEST", message=str(error), retryable=False)
        except ImageRefused as error:
            return Failed(kind="IMAGE_UNAVAILABLE", message=str(error), retryable=True)
        except ModelError as error:
            return self._of_error(error)

    async def _make_images_local(self, attempt: Attempt) -> tuple[ModelImage, ...]:
        self._progress.enter(attempt.enter(Stage.FETCHING_IMAGE))
        return await self._images.of(attempt.assignment)

    async def _call(self, attempt: Attempt, images: tuple[ModelImage, ...], traceparent: str) -> ModelAnswer:
        assignment = attempt.assignment
        request = ModelRequest(
            model=assignment.model,
            prompt=assignment.prompt,
            system_instruction=assignment.system_instruction,
            images=images,
            schema_json=assignment.schema_json,
            generation=assignment.generation,
            timeout=assignment.timeout,
        )
        await self._gate.begin_call(attempt)
        with self._spans.call(request, traceparent) as span:
            try:
                attempt.answer = await self._model.analyze(request)
            except (ConnectionBroken, UnreadableAnswer):
                raise
            except ModelError:
                attempt.paid = False
                raise
            spans.describe_answer(span, attempt.answer)
        self._key.accepted()
        return attempt.answer

    def _validate(self, attempt: Attempt, answer: ModelAnswer, validator: Validator) -> Verdict:
        self._progress.enter(attempt.enter(Stage.VALIDATING))
        failed = verdicts.of_answer(answer)
        if failed is not None:
            return failed
        try:
            return Succeeded(validator.validate(answer.text))
        except InvalidOutput as error:
            return verdicts.invalid_output(str(error), raw=answer.text)

    def _of_error(self, error: ModelError) -> Verdict:
        verdict = verdicts.of_error(error, now=self._clock.now())
        if isinstance(verdict, Released):
            self._key.refused(verdict.message)
        elif isinstance(error, ProviderRefused):
            self._key.accepted()
        return verdict
