"""The providers: they answer, well or uselessly, fail, throttle or hang, and remember every call.

The second one reworks what the first one gave: what it answers shows that it got it.
"""

import asyncio
import datetime
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from sim_loop import SimulatedLoop

from executor.ports import Begin, ConnectionBroken, ModelAnswer, ModelRequest, ProviderRefused, at_once
from executor.work import Usage

REWORK = "rework "
"""Before the prompt of a first step it is the prompt of its second one."""


@dataclass
class Call:
    """One call as its provider saw it.

    Attributes:
        provider: Who was called.
        model: Which one of its models.
        prompt: That of the job, whichever step it is.
        input_json: What came along from the step before.
        tier: In which it was asked for.
        caller: The executor.
        time: When it began.
        ending: None while it runs.
        usage: What it was billed for; None if it was not.
    """

    provider: str
    model: str
    prompt: str
    input_json: str
    tier: str
    caller: str
    time: float
    ending: str | None = None
    usage: Usage | None = None

    @property
    def step(self) -> int:
        return 1 if self.provider == "gemini" else 2


@dataclass(frozen=True, slots=True)
class Mood:
    """How often what happens; the rest of the calls succeed. Latencies in seconds."""

    failing: float = 0.0
    breaking: float = 0.0
    invalid: float = 0.0
    truncated: float = 0.0
    empty: float = 0.0
    throttling: float = 0.0
    hanging: float = 0.0
    refusing: float = 0.0
    max_latency: float = 3.0


class SimulatedProvider:
    """One account at each provider, for all executors."""

    def __init__(self, loop: SimulatedLoop, draws: random.Random, mood: Mood) -> None:
        self._loop = loop
        self._draws = draws
        self.mood = mood
        self.calls: list[Call] = []
        self.closed_until = {"gemini": 0.0, "deepseek": 0.0}
        self.on_call: Callable[[Call], None] = lambda _: None

    def clients(self, caller: str) -> dict[str, "SimulatedModel"]:
        return {provider: SimulatedModel(self, caller) for provider in self.closed_until}

    async def answer(self, request: ModelRequest, caller: str) -> ModelAnswer:
        call = Call(
            provider=request.provider,
            model=request.model,
            prompt=request.prompt.removeprefix(REWORK),
            input_json=request.input_json,
            tier=request.generation.service_tier,
            caller=caller,
            time=self._loop.now,
        )
        self.calls.append(call)
        self.on_call(call)
        try:
            return await self._answer(call)
        except asyncio.CancelledError:
            call.ending = "cancelled"
            raise

    async def _answer(self, call: Call) -> ModelAnswer:
        chance, mood = self._draws.random(), self.mood
        latency = self._draws.uniform(0.05, mood.max_latency)
        if self._loop.now < self.closed_until[call.provider]:
            call.ending = "throttled"
            await asyncio.sleep(0.02)
            raise self._throttled(self.closed_until[call.provider] - self._loop.now)
        for share, ending in (
            (mood.hanging, "hung"),
            (mood.throttling, "throttled"),
            (mood.failing, "failed"),
            (mood.breaking, "broke"),
            (mood.invalid, "invalid"),
            (mood.truncated, "truncated"),
            (mood.empty, "empty"),
            (mood.refusing, "refused"),
        ):
            if chance < share:
                return await self._misbehave(call, ending, latency)
            chance -= share
        await asyncio.sleep(latency)
        call.ending = "succeeded"
        return self._answered(call, _good_answer(call))

    async def _misbehave(self, call: Call, ending: str, latency: float) -> ModelAnswer:
        if ending == "hung":
            await asyncio.sleep(10_000)
        if ending == "throttled":
            self.closed_until[call.provider] = self._loop.now + self._draws.uniform(1.0, 10.0)
            call.ending = ending
            raise self._throttled(self.closed_until[call.provider] - self._loop.now)
        await asyncio.sleep(latency)
        call.ending = ending
        if ending == "failed":
            raise ProviderRefused(
                status=503, body='{"error": {"code": 503, "status": "UNAVAILABLE"}}', retry_after=None
            )
        if ending == "refused":
            raise ProviderRefused(
                status=400, body='{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}', retry_after=None
            )
        if ending == "broke":
            raise ConnectionBroken("reset by peer")
        if ending == "truncated":
            return self._answered(call, _good_answer(call)[:-4], finish_reason="MAX_TOKENS")
        return self._answered(call, "" if ending == "empty" else '{"echo": 1}')

    def _answered(self, call: Call, text: str, *, finish_reason: str = "STOP") -> ModelAnswer:
        call.usage = usage = Usage(input_tokens=1_200, output_tokens=20, image_tokens=1_120)
        return ModelAnswer(
            text=text,
            finish_reason=finish_reason,
            model_version=call.model,
            usage=usage,
            service_tier=call.tier or "STANDARD",
        )

    def _throttled(self, seconds: float) -> ProviderRefused:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds:.3f}s"}
        body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": [delay]}}
        return ProviderRefused(status=429, body=json.dumps(body), retry_after=None)


def _good_answer(call: Call) -> str:
    if call.provider == "gemini":
        return json.dumps({"echo": call.prompt})
    return json.dumps({"reworked": json.loads(call.input_json)["echo"]})


class SimulatedModel:
    """Implements executor.ports.ModelClient."""

    def __init__(self, provider: SimulatedProvider, caller: str) -> None:
        self._provider = provider
        self._caller = caller

    async def analyze(self, request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        await begin()
        return await self._provider.answer(request, self._caller)


TIMEOUT = datetime.timedelta(seconds=20)
