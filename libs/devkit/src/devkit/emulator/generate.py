"""generateContent, from the call to the bill."""

import datetime
import hashlib
import itertools
import math
import secrets
from dataclasses import dataclass

from devkit.emulator import errors, usage
from devkit.emulator.answer import answer_text
from devkit.emulator.latency import Latency
from devkit.emulator.ledger import BilledCall, BilledImage, Ledger
from devkit.emulator.pixels import PixelReader, Pixels
from devkit.emulator.request import GenerateRequest, InlineImage, read_request
from devkit.emulator.settings import EmulatorSettings
from devkit.emulator.subject import subject_of
from devkit.emulator.usage import Usage

_REFUSED_KEY_PREFIX = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call as it came in.

    Attributes:
        api_version: `v1` or `v1beta`.
        model: Without `models/`.
        api_key: "" if there is none.
        deadline_seconds: How long the caller waits; None if it does not say.
        body: Not read yet.
    """

    api_version: str
    model: str
    api_key: str
    deadline_seconds: float | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a call is answered, before it is paid."""

    text: str
    finish_reason: str
    images: tuple[BilledImage, ...]
    usage: Usage


class Generator:
    """Answers calls, and bills those that it answered."""

    def __init__(self, settings: EmulatorSettings, ledger: Ledger) -> None:
        self._models = frozenset(settings.models)
        self._ledger = ledger
        self._latency = Latency(median_seconds=settings.latency_seconds, seed=settings.seed)
        self._pixels = PixelReader()
        self._numbers = itertools.count(1)

    async def generate(self, call: Call) -> dict[str, object]:
        """Return the GenerateContentResponse of a call, as JSON.

        A caller that hangs up while it waits is billed like any other.

        Raises:
            ApiError: The call is refused, and not billed.
        """
        self._check_caller(call)
        request = read_request(call.body)
        answer = await self._answer(call, request)
        # What a scripted fault does to a call is decided here: it is known to be sound, and nothing is billed yet.
        await self._take_time(call)
        return self._billed(call, request, answer)

    def close(self) -> None:
        """Refuse the calls that wait for their answer, and all to come."""
        self._latency.close()

    def _check_caller(self, call: Call) -> None:
        if not call.api_key.strip() or call.api_key.startswith(_REFUSED_KEY_PREFIX):
            raise errors.invalid_api_key()
        if call.model not in self._models:
            raise errors.model_not_found(call.model, call.api_version)

    async def _answer(self, call: Call, request: GenerateRequest) -> _Answer:
        seen = [await self._seen(image) for image in request.images]
        subject = subject_of(request.prompt, [pixels for pixels, _ in seen])
        whole = answer_text(request.answer_schema, subject, wants_json=request.wants_json)
        thoughts = usage.thought_tokens(request, call.model)
        text = whole
        if request.max_output_tokens is not None:
            text = whole[: (request.max_output_tokens - thoughts) * usage.CHARACTERS_PER_TOKEN]
        text_tokens, image_tokens = usage.input_tokens(request)
        return _Answer(
            text=text,
            finish_reason="STOP" if len(text) == len(whole) else "MAX_TOKENS",
            images=tuple(billed for _, billed in seen),
            usage=Usage(text=text_tokens, image=image_tokens, candidates=usage.text_tokens(text), thoughts=thoughts),
        )

    async def _seen(self, image: InlineImage) -> tuple[Pixels, BilledImage]:
        sha256 = hashlib.sha256(image.data).hexdigest()
        pixels = await self._pixels.read(image.data, image.mime_type, sha256)
        billed = BilledImage(
            sha256=sha256,
            pixels_sha256=pixels.sha256,
            mime_type=image.mime_type,
            width=pixels.width,
            height=pixels.height,
        )
        return pixels, billed

    async def _take_time(self, call: Call) -> None:
        seconds = self._latency.draw(next(self._numbers))
        deadline = math.inf if call.deadline_seconds is None else call.deadline_seconds
        if not await self._latency.wait(min(seconds, deadline)):
            raise errors.unavailable()
        if deadline <= seconds:
            raise errors.deadline_exceeded()

    def _billed(self, call: Call, request: GenerateRequest, answer: _Answer) -> dict[str, object]:
        response_id = secrets.token_urlsafe(17)
        self._ledger.bill(
            BilledCall(
                time=datetime.datetime.now(datetime.UTC),
                api_version=call.api_version,
                model=call.model,
                response_id=response_id,
                finish_reason=answer.finish_reason,
                prompt_sha256=hashlib.sha256(request.prompt.encode(errors="surrogatepass")).hexdigest(),
                images=answer.images,
                usage=answer.usage,
            )
        )
        content = {"parts": _parts(request, answer), "role": "model"}
        return {
            "candidates": [{"content": content, "finishReason": answer.finish_reason, "index": 0}],
            "usageMetadata": answer.usage.as_metadata(request.service_tier),
            "modelVersion": f"{call.model}-emulator",
            "responseId": response_id,
        }


def _parts(request: GenerateRequest, answer: _Answer) -> list[dict[str, object]]:
    thoughts: list[dict[str, object]] = []
    if request.include_thoughts and answer.usage.thoughts:
        thoughts.append({"text": "The emulator does not think; it counts pixels.", "thought": True})
    return [*thoughts, {"text": answer.text}]
