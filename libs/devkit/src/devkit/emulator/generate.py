"""generateContent, from the call to the bill."""

import datetime
import hashlib
import itertools
import json
import math
import secrets
from dataclasses import dataclass

from devkit.emulator import disruptions, errors, usage
from devkit.emulator.answer import answer_text
from devkit.emulator.call_log import ReceivedCall
from devkit.emulator.controls import Controls
from devkit.emulator.faults import DEFAULT_SLOW_SECONDS, Fault, FaultKind
from devkit.emulator.latency import Latency
from devkit.emulator.ledger import BilledCall, BilledImage
from devkit.emulator.pixels import PixelReader, Pixels
from devkit.emulator.reply import Answer, Reply
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


class Generator:
    """Answers calls, and bills those that it answered."""

    def __init__(self, settings: EmulatorSettings, controls: Controls) -> None:
        self._models = frozenset(settings.models)
        self._controls = controls
        self._latency = Latency(median_seconds=settings.latency_seconds, seed=settings.seed)
        self._pixels = PixelReader()
        self._numbers = itertools.count(1)

    async def generate(self, call: Call) -> Reply:
        """Return the reply to a call.

        A caller that hangs up while it waits is billed like any other.
        """
        received = self._controls.calls.receive(call.model)
        try:
            reply = await self._replied(call, received)
        except errors.ApiError as error:
            reply = Reply.of_error(error)
        if reply.is_sent:
            received.status = reply.status
        return reply

    def close(self) -> None:
        """Refuse the calls that wait for their answer, and all to come."""
        self._latency.close()

    async def _replied(self, call: Call, received: ReceivedCall) -> Reply:
        self._check_caller(call)
        request = read_request(call.body)
        received.prompt_sha256 = _sha256(request.prompt)
        self._check_quota(request, received)
        fault = await self._fault(received)
        if reply := disruptions.reply_at_once(fault, model=call.model, api_version=call.api_version):
            return reply
        answer = await self._answer(call, request)
        await self._take_time(call, fault)
        if reply := disruptions.reply_at_last(fault):
            return reply
        spoilt = disruptions.spoilt(answer, fault, request.answer_schema)
        return disruptions.broken(self._billed(call, request, spoilt, received), fault)

    def _check_caller(self, call: Call) -> None:
        if not call.api_key.strip() or call.api_key.startswith(_REFUSED_KEY_PREFIX):
            raise errors.invalid_api_key()
        if call.model not in self._models:
            raise errors.model_not_found(call.model, call.api_version)

    def _check_quota(self, request: GenerateRequest, received: ReceivedCall) -> None:
        try:
            self._controls.quotas.admit(received.model, sum(usage.input_tokens(request)), received.time)
        except errors.ApiError:
            received.over_quota = True
            raise

    async def _fault(self, received: ReceivedCall) -> Fault | None:
        """Return what hits the call; one that was held goes on with what the script says next."""
        fault = self._controls.faults.draw(received.model)
        if fault and fault.kind is FaultKind.HOLD:
            received.fault = fault.kind
            await self._controls.gate.wait()
            fault = self._controls.faults.draw(received.model, was_held=True)
        if fault:
            received.fault = fault.kind
        return fault

    async def _answer(self, call: Call, request: GenerateRequest) -> Answer:
        seen = [await self._seen(image) for image in request.images]
        subject = subject_of(request.prompt, [pixels for pixels, _ in seen])
        whole = answer_text(request.answer_schema, subject, wants_json=request.wants_json)
        thoughts = usage.thought_tokens(request, call.model)
        text = whole
        if request.max_output_tokens is not None:
            text = whole[: (request.max_output_tokens - thoughts) * usage.CHARACTERS_PER_TOKEN]
        text_tokens, image_tokens = usage.input_tokens(request)
        return Answer(
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

    async def _take_time(self, call: Call, fault: Fault | None) -> None:
        seconds = self._latency.draw(next(self._numbers)) + _extra_seconds(fault)
        deadline = math.inf if call.deadline_seconds is None else call.deadline_seconds
        if not await self._latency.wait(min(seconds, deadline)):
            raise errors.unavailable()
        if deadline <= seconds:
            raise errors.deadline_exceeded()

    def _billed(self, call: Call, request: GenerateRequest, answer: Answer, received: ReceivedCall) -> Reply:
        response_id = secrets.token_urlsafe(17)
        received.billed = True
        self._controls.ledger.bill(
            BilledCall(
                call_number=received.number,
                start_time=received.time,
                time=datetime.datetime.now(datetime.UTC),
                api_version=call.api_version,
                model=call.model,
                response_id=response_id,
                finish_reason=answer.finish_reason,
                prompt_sha256=received.prompt_sha256,
                images=answer.images,
                usage=answer.usage,
            )
        )
        response = answer.as_response(request, model=call.model, response_id=response_id)
        return Reply(body=json.dumps(response).encode())


def _extra_seconds(fault: Fault | None) -> float:
    if fault is None or fault.kind is not FaultKind.SLOW:
        return 0.0
    return DEFAULT_SLOW_SECONDS if fault.seconds is None else fault.seconds


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
