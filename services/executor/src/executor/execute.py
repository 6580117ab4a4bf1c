"""One attempt from its assignment to its outcome: images local → leave to call → call → validate."""

import asyncio
import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from executor import spans, validation_apart, verdicts
from executor.attempt import Attempt, Interrupted
from executor.call_gate import CallGate
from executor.images import LocalImages
from executor.ports import (
    BadImage,
    ConnectionBroken,
    ImageUnavailable,
    ModelAnswer,
    ModelClient,
    ModelError,
    ModelImage,
    ModelRequest,
    Progress,
    ProviderRefused,
    UnreadableAnswer,
)
from executor.provider_key import KeyRefused, ProviderKeys
from executor.spans import Spans
from executor.validation import InvalidOutput, UnusableSchema, Validator, Validators
from executor.work import Failed, Outcome, Released, Stage, Succeeded, Throttled, Verdict
from runtime.clock import Clock

LARGE_TEXT = 32 * 1024
"""Characters of an answer from which on it is checked beside the event loop."""


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
        models: Mapping[str, ModelClient],
        images: LocalImages,
        validators: Validators,
        progress: ProgressReport,
        gate: CallGate,
        keys: ProviderKeys,
        spans: Spans,
        clock: Clock,
        provider_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Wire it; `models` has a client for each provider that may be called, `provider_keys` what no word may repeat."""
        self._models = models
        self._images = images
        self._validators = validators
        self._progress = progress
        self._gate = gate
        self._keys = keys
        self._spans = spans
        self._clock = clock
        self._provider_keys = provider_keys or {}

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
            step=attempt.assignment.step,
            steps=attempt.assignment.steps,
            service_tier=_service_tier(attempt),
            unanswered=attempt.unanswered,
        )

    async def _verdict(self, attempt: Attempt, traceparent: str) -> Verdict | None:
        try:
            async with attempt.under_way():
                # Before anything is paid for: an answer that cannot be checked is worth nothing.
                validator = self._validators.of(attempt.assignment.schema_json)
                images = await self._make_images_local(attempt)
                answer = await self._call(attempt, images, traceparent)
            # Outside: an answer that came in time is not lost to the deadline while it is checked.
            return await self._validate(attempt, answer, validator)
        except (TimeoutError, Interrupted):
            return verdicts.of_interruption(attempt)
        except UnusableSchema as error:
            return Failed(kind="BAD_REQUEST", message=str(error), retryable=False)
        except (BadImage, ImageUnavailable) as error:
            return _of_image(error)
        except KeyRefused as refusal:
            return Released(str(refusal))
        except ModelError as error:
            return self._of_error(error, attempt)

    async def _make_images_local(self, attempt: Attempt) -> tuple[ModelImage, ...]:
        if not attempt.assignment.images:
            return ()
        self._progress.enter(attempt.enter(Stage.FETCHING_IMAGE))
        return await self._images.of(attempt.assignment)

    async def _call(self, attempt: Attempt, images: tuple[ModelImage, ...], traceparent: str) -> ModelAnswer:
        assignment = attempt.assignment
        request = ModelRequest(
            provider=assignment.provider,
            model=assignment.model,
            prompt=assignment.prompt,
            input_json=assignment.input_json,
            system_instruction=assignment.system_instruction,
            images=images,
            schema_json=assignment.schema_json,
            generation=assignment.generation,
            timeout=assignment.timeout,
        )
        client = self._models[request.provider]
        async with self._keys.calling(request.provider):
            answer = attempt.answer = await self._answer(client, request, attempt, traceparent)
            self._keys.accepted(request.provider)
        return answer

    async def _answer(
        self, client: ModelClient, request: ModelRequest, attempt: Attempt, traceparent: str
    ) -> ModelAnswer:
        with contextlib.ExitStack() as exits:
            call_spans = []

            async def begin() -> None:
                await self._gate.begin_call(attempt)
                call_spans.append(exits.enter_context(self._spans.call(request, traceparent)))

            try:
                answer = await client.analyze(request, begin)
            except ConnectionBroken:
                raise
            except UnreadableAnswer:
                attempt.answered = True
                raise
            except ModelError:
                attempt.paid = False
                raise
            attempt.answered = True
            for span in call_spans:
                spans.describe_answer(span, answer)
        return answer

    async def _validate(self, attempt: Attempt, answer: ModelAnswer, validator: Validator) -> Verdict:
        self._progress.enter(attempt.enter(Stage.VALIDATING))
        schema_json, provider = attempt.assignment.schema_json, attempt.assignment.provider
        if validation_apart.takes_long(schema_json, answer.text):
            return await asyncio.to_thread(
                _checked, answer, provider, functools.partial(validation_apart.validate, schema_json)
            )
        if len(answer.text) < LARGE_TEXT:
            return _checked(answer, provider, validator.validate)
        # Heartbeats go on between its steps, none of which takes long.
        return await asyncio.to_thread(_checked, answer, provider, validator.validate)

    def _of_error(self, error: ModelError, attempt: Attempt) -> Verdict:
        provider = attempt.assignment.provider
        key = self._provider_keys.get(provider, "")
        verdict = verdicts.of_error(error, attempt.assignment, now=self._clock.now(), key=key)
        if isinstance(verdict, Throttled):
            self._gate.rest(attempt.assignment.lane, _rest_seconds(verdict))
        if isinstance(verdict, Released):
            self._keys.refused(provider, verdict.message)
        elif isinstance(error, ProviderRefused):
            self._keys.accepted(provider)
        return verdict


def _rest_seconds(throttled: Throttled) -> float:
    return math.inf if throttled.retry_after is None else throttled.retry_after.total_seconds()


def _of_image(error: BadImage | ImageUnavailable) -> Failed:
    if isinstance(error, BadImage):
        return Failed(kind="BAD_IMAGE", message=str(error), retryable=False, image_sha256=error.sha256)
    return Failed(kind="IMAGE_UNAVAILABLE", message=str(error), retryable=error.retryable)


def _checked(answer: ModelAnswer, provider: str, validate: Callable[[str], str]) -> Verdict:
    failed = verdicts.of_answer(answer, provider)
    if failed is not None:
        return failed
    try:
        return Succeeded(validate(answer.text))
    except InvalidOutput as error:
        return verdicts.of_output(error, answer)


def _service_tier(attempt: Attempt) -> str:
    """Return what the provider says it served, else what was asked for."""
    told = attempt.answer.service_tier if attempt.answer else ""
    return told or attempt.assignment.generation.service_tier
