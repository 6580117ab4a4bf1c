"""DeepSeek's chat completions as a dialect: what it takes, refuses and answers."""

import contextlib
import copy
import datetime
import hashlib
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jsonschema_rs

from devkit.emulator import usage
from devkit.emulator.answer import answer_text
from devkit.emulator.answers import Answer, Shape
from devkit.emulator.controls import Controls
from devkit.emulator.deepseek import chat_errors
from devkit.emulator.deepseek.chat_request import ChatRequest, read_request
from devkit.emulator.exchange import Call, Question
from devkit.emulator.fault_kinds import DEEPSEEK
from devkit.emulator.faults import Fault
from devkit.emulator.ledger import BilledCall
from devkit.emulator.quotas import TooManyInFlight
from devkit.emulator.refused import Refused
from devkit.emulator.reply import Reply
from devkit.emulator.spoiling import Words
from devkit.emulator.subject import Subject
from devkit.emulator.usage import Usage

_REFUSED_KEY_PREFIX = "invalid"
_THOUGHT = "The emulator does not think; it counts characters."
_THOUGHT_TOKENS = 96
_CACHE_UNIT_TOKENS = 64
_REMEMBERED_PROMPTS = 1024


class DeepSeek:
    """One DeepSeek, with its models, its limit and its cache of prompts."""

    provider = DEEPSEEK
    words = Words(stop="stop", at_limit="length")
    blank_line_seconds: float | None = 1.0

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._prompts: OrderedDict[bytes, None] = OrderedDict()

    def question(self, call: Call) -> Question:
        """Return what a call asks. Raises Refused."""
        if not call.api_key.strip() or call.api_key.startswith(_REFUSED_KEY_PREFIX):
            raise chat_errors.authentication_failed(call.api_key)
        request = read_request(call.body)
        served_model = self._controls.models.served_by(DEEPSEEK, request.model)
        if served_model is None:
            raise chat_errors.unknown_model()
        return Question(
            model=request.model,
            served_model=served_model,
            prompt=request.prompt,
            service_tier="",
            answer_schema=request.schema,
            request=request,
        )

    @contextlib.contextmanager
    def _admitted(self, model: str) -> Iterator[None]:
        with contextlib.ExitStack() as place:
            try:
                place.enter_context(self._controls.quotas.in_flight(model))
            except TooManyInFlight:
                raise chat_errors.rate_limited() from None
            yield

    def admitted(self, question: Question, _: datetime.datetime) -> AbstractContextManager[None]:
        """Count a call as in flight. Raises Refused on entering."""
        return self._admitted(question.model)

    def error_at_once(self, fault: Fault, _: Question, __: Call) -> Reply | None:
        """Return the error that comes before the model sees the call."""
        return chat_errors.error_at_once(fault)

    def error_at_last(self, fault: Fault) -> Reply | None:
        """Return the error that comes after the call's time."""
        return chat_errors.error_at_last(fault)

    async def answer(self, question: Question) -> Answer:
        """Return the answer, made up from the prompt."""
        request: ChatRequest = question.request
        whole = _text(request)
        thoughts = _THOUGHT_TOKENS if request.thinks else 0
        text = whole
        if request.max_tokens is not None:
            thoughts = min(thoughts, request.max_tokens // 2)
            text = whole[: (request.max_tokens - thoughts) * usage.CHARACTERS_PER_TOKEN]
        prompt_tokens = usage.text_tokens(request.text)
        return Answer(
            text=text,
            finish_reason="stop" if len(text) == len(whole) else "length",
            usage=Usage(
                text=prompt_tokens,
                image=0,
                candidates=usage.text_tokens(text),
                thoughts=thoughts,
                cached=self._cached_tokens(request.text, prompt_tokens),
            ),
            served_model=question.served_model,
        )

    def document(self, answer: Answer, question: Question, response_id: str) -> Mapping[str, object]:
        """Return the chat completion, as JSON."""
        return {
            "id": response_id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": f"{answer.served_model}-emulator",
            "choices": _choices(answer, thinks=question.request.thinks),
            **({"usage": _usage(answer.usage)} if answer.tells_usage else {}),
            "system_fingerprint": "fp_emulator",
        }

    def deadline_exceeded(self) -> Refused:
        return chat_errors.overloaded()

    def going_away(self) -> Refused:
        return chat_errors.overloaded()

    def new_response_id(self) -> str:
        return str(uuid.uuid4())

    def billed(self, call: BilledCall) -> None:
        """Nothing: no limit of DeepSeek's is held against what was billed."""

    def _cached_tokens(self, text: str, tokens: int) -> int:
        """Return how much of a prompt was seen lately: all of its whole units, or nothing."""
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        if digest in self._prompts:
            self._prompts.move_to_end(digest)
            return tokens // _CACHE_UNIT_TOKENS * _CACHE_UNIT_TOKENS
        self._prompts[digest] = None
        if len(self._prompts) > _REMEMBERED_PROMPTS:
            self._prompts.popitem(last=False)
        return 0


def _text(request: ChatRequest) -> str:
    """Return JSON that fits the schema where the emulator can find some, a generic object or a sentence elsewhere."""
    seed = hashlib.sha256(request.text.encode(errors="surrogatepass")).digest()
    subject = Subject(description="a prompt without an image", brightness=0.5, seed=seed)
    if request.schema is not None and request.wants_json:
        with contextlib.suppress(Refused, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            text = answer_text(_known(request.schema), subject, wants_json=True)
            if jsonschema_rs.is_valid(request.schema, json.loads(text)):
                return text
    return answer_text(None, subject, wants_json=request.wants_json, speaker="DeepSeek emulator")


def _known(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema in the keywords that answers are made up by."""
    known = copy.deepcopy(schema)
    unread: list[Any] = [known]
    while unread:
        part = unread.pop()
        if isinstance(part, dict):
            if "const" in part and "enum" not in part:
                part["enum"] = [part.pop("const")]
            unread.extend(part.values())
        elif isinstance(part, list):
            unread.extend(part)
    return known


def _choices(answer: Answer, *, thinks: bool) -> list[Mapping[str, object]]:
    if answer.shape is Shape.NO_CANDIDATES:
        return []
    choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": answer.finish_reason}
    if answer.shape is not Shape.NO_CONTENT:
        thoughts = thinks or answer.shape is Shape.THOUGHTS_ONLY
        message = {"role": "assistant", "content": answer.text}
        choice["message"] = message | ({"reasoning_content": _THOUGHT} if thoughts else {})
    return [choice]


def _usage(used: Usage) -> Mapping[str, object]:
    """Return the usage as DeepSeek tells it: what is counted as completion has the reasoning in it."""
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.candidates + used.thoughts,
        "total_tokens": used.total,
        "prompt_tokens_details": {"cached_tokens": used.cached},
        "completion_tokens_details": {"reasoning_tokens": used.thoughts},
        "prompt_cache_hit_tokens": used.cached,
        "prompt_cache_miss_tokens": used.prompt - used.cached,
    }
