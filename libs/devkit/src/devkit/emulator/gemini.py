"""Gemini's generateContent as a dialect: what it takes, refuses and answers."""

import contextlib
import datetime
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager

from devkit.emulator import errors, gemini_faults, usage
from devkit.emulator.answer import answer_text
from devkit.emulator.answers import Answer, Shape
from devkit.emulator.controls import Controls
from devkit.emulator.exchange import Call, Question
from devkit.emulator.fault_kinds import GEMINI
from devkit.emulator.faults import Fault
from devkit.emulator.ledger import BilledCall, BilledImage
from devkit.emulator.pixels import PixelReader, Pixels
from devkit.emulator.refused import Refused
from devkit.emulator.reply import Reply
from devkit.emulator.request import GenerateRequest, InlineImage, read_request
from devkit.emulator.spending import spent_usd
from devkit.emulator.spoiling import Words
from devkit.emulator.subject import subject_of
from devkit.emulator.usage import Usage

_REFUSED_KEY_PREFIX = "invalid"
_THOUGHT = "The emulator does not think; it counts pixels."


class Gemini:
    """One Gemini, with its models and limits."""

    provider = GEMINI
    words = Words(stop="STOP", at_limit="MAX_TOKENS")
    blank_line_seconds: float | None = None

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._pixels = PixelReader()

    def question(self, call: Call) -> Question:
        """Return what a call asks. Raises Refused."""
        if not call.api_key.strip() or call.api_key.startswith(_REFUSED_KEY_PREFIX):
            raise errors.invalid_api_key()
        served_model = self._controls.models.served_by(GEMINI, call.model)
        if served_model is None:
            raise errors.model_not_found(call.model, call.api_version)
        request = read_request(call.body)
        return Question(
            model=call.model,
            served_model=served_model,
            prompt=request.prompt,
            service_tier=request.service_tier.lower(),
            answer_schema=request.answer_schema,
            request=request,
        )

    def admitted(self, question: Question, now: datetime.datetime) -> AbstractContextManager[None]:
        """Count a call against quotas and spend limit. Raises Refused."""
        self._controls.quotas.admit(question.model, sum(usage.input_tokens(question.request)), now)
        return contextlib.nullcontext()

    def error_at_once(self, fault: Fault, question: Question, call: Call) -> Reply | None:
        """Return the error that comes before the model sees the call."""
        return gemini_faults.error_at_once(fault, model=question.model, api_version=call.api_version)

    def error_at_last(self, fault: Fault) -> Reply | None:
        """Return the error that comes after the call's time."""
        return gemini_faults.error_at_last(fault)

    async def answer(self, question: Question) -> Answer:
        """Return the answer, made up from the pixels. Raises Refused."""
        request: GenerateRequest = question.request
        seen = [await self._seen(image) for image in request.images]
        subject = subject_of(request.prompt, [pixels for pixels, _ in seen])
        whole = answer_text(request.answer_schema, subject, wants_json=request.wants_json)
        thoughts = usage.thought_tokens(request, question.served_model)
        text = whole
        if request.max_output_tokens is not None:
            text = whole[: (request.max_output_tokens - thoughts) * usage.CHARACTERS_PER_TOKEN]
        text_tokens, image_tokens = usage.input_tokens(request)
        return Answer(
            text=text,
            finish_reason="STOP" if len(text) == len(whole) else "MAX_TOKENS",
            images=tuple(billed for _, billed in seen),
            usage=Usage(text=text_tokens, image=image_tokens, candidates=usage.text_tokens(text), thoughts=thoughts),
            served_model=question.served_model,
            service_tier=question.service_tier,
        )

    def document(self, answer: Answer, question: Question, response_id: str) -> Mapping[str, object]:
        """Return the GenerateContentResponse, as JSON."""
        told = {"usageMetadata": answer.usage.as_metadata(answer.service_tier)} if answer.tells_usage else {}
        include_thoughts = question.request.include_thoughts
        return {
            **_said(answer, include_thoughts=include_thoughts),
            **told,
            "modelVersion": f"{answer.served_model}-emulator",
            "responseId": response_id,
        }

    def deadline_exceeded(self) -> Refused:
        return errors.deadline_exceeded()

    def going_away(self) -> Refused:
        return errors.unavailable()

    def new_response_id(self) -> str:
        return secrets.token_urlsafe(17)

    def billed(self, call: BilledCall) -> None:
        """Count the money."""
        self._controls.quotas.spend(spent_usd(call.served_model, call.usage, call.service_tier), call.time)

    async def _seen(self, image: InlineImage) -> tuple[Pixels, BilledImage]:
        sha256 = await self._pixels.sha256(image.data)
        pixels = await self._pixels.read(image.data, image.mime_type, sha256)
        billed = BilledImage(
            sha256=sha256,
            pixels_sha256=pixels.sha256,
            mime_type=image.mime_type,
            width=pixels.width,
            height=pixels.height,
        )
        return pixels, billed


def _said(answer: Answer, *, include_thoughts: bool) -> dict[str, object]:
    if answer.block_reason:
        return {"promptFeedback": {"blockReason": answer.block_reason}}
    if answer.shape is Shape.NO_CANDIDATES:
        return {}
    candidate: dict[str, object] = {"finishReason": answer.finish_reason, "index": 0}
    if answer.continuation_token:
        candidate["continuationToken"] = answer.continuation_token
    if answer.shape is not Shape.NO_CONTENT:
        candidate = {"content": _content(answer, include_thoughts=include_thoughts), **candidate}
    return {"candidates": [candidate]}


def _content(answer: Answer, *, include_thoughts: bool) -> dict[str, object]:
    thought = {"text": _THOUGHT, "thought": True}
    match answer.shape:
        case Shape.NO_PARTS:
            return {"role": "model"}
        case Shape.THOUGHTS_ONLY:
            return {"parts": [thought], "role": "model"}
        case _:
            thoughts = [thought] if include_thoughts and answer.usage.thoughts else []
            return {"parts": [*thoughts, {"text": answer.text}], "role": "model"}
