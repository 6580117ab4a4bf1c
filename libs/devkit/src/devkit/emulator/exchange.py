"""One call, from its arrival to the bill and what became of the reply; what providers differ in is a dialect."""

import asyncio
import contextlib
import datetime
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from devkit.emulator import fault_replies
from devkit.emulator.answers import Answer
from devkit.emulator.call_log import ReceivedCall
from devkit.emulator.controls import Controls
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.faults import DEFAULT_SLOW_SECONDS, Fault, FaultTarget
from devkit.emulator.ledger import BilledCall
from devkit.emulator.refused import Refused
from devkit.emulator.reply import Fate, Reply
from devkit.emulator.spoiling import Words, spoilt

# Larger bodies are read in a thread, so that other calls go on meanwhile.
_SMALL_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call as it came in.

    Attributes:
        begin_time: When its head had arrived.
        api_version: `v1` or `v1beta`, or "" where there is none in the path.
        model: In the path, without `models/`; "" where the body names it.
        api_key: "" if there is none.
        deadline_seconds: How long the caller waits; None if it does not say.
        fault: What the caller wants to be hit by.
        body: Not read yet.
    """

    begin_time: datetime.datetime
    api_version: str
    model: str
    api_key: str
    deadline_seconds: float | None
    fault: Fault | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A sound call.

    Attributes:
        model: As it is asked for.
        served_model: Who answers.
        prompt: Its hash identifies the call in the logs.
        service_tier: In lower case, "" if there are none.
        answer_schema: What the answer should fit.
        request: All of it, for its dialect.
    """

    model: str
    served_model: str
    prompt: str
    service_tier: str
    answer_schema: Mapping[str, Any] | None
    request: Any


class Line(Protocol):
    """The connection of a call."""

    async def send(self, reply: Reply) -> Fate:
        """Send a reply, and return what became of it."""

    async def send_blank_line(self) -> None:
        """Keep the caller waiting with the head of a good reply and nothing in it."""


class Dialect(Protocol):
    """What a provider does in its own way. The methods but `answer` and `admitted` may run in a thread."""

    provider: str
    words: Words
    blank_line_seconds: float | None

    def question(self, call: Call) -> Question:
        """Return what a call asks. Raises Refused."""

    def admitted(self, question: Question, now: datetime.datetime) -> AbstractContextManager[None]:
        """Hold a place inside the provider's limits while the block runs. Raises Refused."""

    def error_at_once(self, fault: Fault, question: Question, call: Call) -> Reply | None:
        """Return the provider's error that comes before the model sees the call."""

    def error_at_last(self, fault: Fault) -> Reply | None:
        """Return the provider's error that comes after the call's time."""

    async def answer(self, question: Question) -> Answer:
        """Return the answer. Raises Refused."""

    def document(self, answer: Answer, question: Question, response_id: str) -> Mapping[str, object]:
        """Return the answer in the provider's format."""

    def deadline_exceeded(self) -> Refused:
        """Return the refusal of a call whose caller does not wait so long."""

    def going_away(self) -> Refused:
        """Return the refusal of a call that waits when the server ends."""

    def new_response_id(self) -> str:
        """Return what no other answer is called."""

    def billed(self, call: BilledCall) -> None:
        """Count a bill against the provider's limits."""


class Exchange:
    """Answers the calls of one provider, and bills those that it answered."""

    def __init__(self, dialect: Dialect, controls: Controls) -> None:
        self._dialect = dialect
        self._controls = controls
        self._numbers = itertools.count(1)

    @property
    def provider(self) -> str:
        return self._dialect.provider

    async def run(self, call: Call, line: Line) -> None:
        """Answer a call.

        A caller that hangs up while it waits is billed like any other.
        """
        question = await self._read(call)
        received = self._controls.calls.receive(self._target(call, question), begin_time=call.begin_time)
        with contextlib.ExitStack() as places:
            bill: BilledCall | None = None
            if isinstance(question, Refused):
                reply = Reply.of_error(question)
            else:
                reply, bill = await self._replied(call, question, received, line, places)
            await self._send(reply, received, bill, line)

    async def refuse(self, refusal: Refused, *, begin_time: datetime.datetime, model: str, line: Line) -> None:
        """Refuse a call whose body did not come."""
        target = FaultTarget(provider=self._dialect.provider, model=model)
        received = self._controls.calls.receive(target, begin_time=begin_time)
        await self._send(Reply.of_error(refusal), received, None, line)

    async def _send(self, reply: Reply, received: ReceivedCall, bill: BilledCall | None, line: Line) -> None:
        self._controls.calls.answer(received, reply)
        received.fate = await line.send(reply)
        if bill:
            bill.fate = received.fate

    async def _read(self, call: Call) -> Question | Refused:
        try:
            if len(call.body) <= _SMALL_BODY_BYTES:
                return self._dialect.question(call)
            return await asyncio.to_thread(self._dialect.question, call)
        except Refused as refusal:
            return refusal

    def _target(self, call: Call, question: Question | Refused) -> FaultTarget:
        if isinstance(question, Refused):
            return FaultTarget(provider=self._dialect.provider, model=call.model)
        return FaultTarget(
            provider=self._dialect.provider,
            model=question.model,
            prompt_sha256=hashlib.sha256(question.prompt.encode(errors="surrogatepass")).hexdigest(),
            service_tier=question.service_tier,
        )

    async def _replied(
        self, call: Call, question: Question, received: ReceivedCall, line: Line, places: contextlib.ExitStack
    ) -> tuple[Reply, BilledCall | None]:
        try:
            self._admit(question, received, places)
            fault = await self._fault(call, received)
            if fault and (reply := self._error_at_once(fault, question, call)):
                return reply, None
            answer = await self._dialect.answer(question)
            error = self._error_at_last(fault) if fault else None
            await self._take_time(call, question, fault, None if error else line)
        except Refused as refusal:
            return Reply.of_error(refusal), None
        if error:
            return error, None
        spoiled = spoilt(answer, fault, question.answer_schema, self._dialect.words)
        bill = self._bill(call, question, spoiled, received)
        document = self._dialect.document(spoiled, question, bill.response_id)
        return fault_replies.broken(Reply(body=json.dumps(document).encode()), fault), bill

    def _admit(self, question: Question, received: ReceivedCall, places: contextlib.ExitStack) -> None:
        try:
            places.enter_context(self._dialect.admitted(question, received.time))
        except Refused:
            received.over_quota = True
            raise

    async def _fault(self, call: Call, received: ReceivedCall) -> Fault | None:
        """Return what hits the call; one that was held goes on with what the script says next."""
        fault = call.fault or self._controls.faults.draw(received.target)
        if fault and fault.kind is FaultKind.HOLD:
            received.fault = fault.kind
            await self._controls.gate.wait()
            fault = self._controls.faults.draw(received.target, was_held=True)
        if fault:
            received.fault = fault.kind
        return fault

    def _error_at_once(self, fault: Fault, question: Question, call: Call) -> Reply | None:
        return fault_replies.broken_at_once(fault) or self._dialect.error_at_once(fault, question, call)

    def _error_at_last(self, fault: Fault) -> Reply | None:
        return fault_replies.broken_at_last(fault) or self._dialect.error_at_last(fault)

    async def _take_time(self, call: Call, question: Question, fault: Fault | None, line: Line | None) -> None:
        latency = self._controls.latency
        seconds = latency.draw(next(self._numbers), question.model) + _extra_seconds(fault)
        deadline = math.inf if call.deadline_seconds is None else call.deadline_seconds
        left = min(seconds, deadline)
        pause = self._dialect.blank_line_seconds
        while line and pause and pause < left and await latency.wait(pause):
            await line.send_blank_line()
            left -= pause
        if not await latency.wait(left):
            raise self._dialect.going_away()
        if deadline <= seconds:
            raise self._dialect.deadline_exceeded()

    def _bill(self, call: Call, question: Question, answer: Answer, received: ReceivedCall) -> BilledCall:
        bill = BilledCall(
            call_number=received.number,
            start_time=received.time,
            time=datetime.datetime.now(datetime.UTC),
            provider=self._dialect.provider,
            api_version=call.api_version,
            model=question.model,
            served_model=answer.served_model,
            service_tier=question.service_tier,
            response_id=self._dialect.new_response_id(),
            finish_reason=answer.finish_reason,
            prompt_sha256=received.target.prompt_sha256,
            fault=received.fault,
            images=answer.images,
            usage=answer.usage,
        )
        received.billed = True
        self._controls.ledger.bill(bill)
        self._dialect.billed(bill)
        return bill


def _extra_seconds(fault: Fault | None) -> float:
    if fault is None or fault.kind is not FaultKind.SLOW:
        return 0.0
    return DEFAULT_SLOW_SECONDS if fault.seconds is None else fault.seconds
