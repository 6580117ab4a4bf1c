"""The provider: answers, fails, throttles or hangs, and remembers every call."""

import asyncio
import datetime
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from sim_loop import SimulatedLoop

from executor.ports import ConnectionBroken, ModelAnswer, ModelRequest, ProviderRefused
from executor.work import Usage


@dataclass
class Call:
    """One call as the provider saw it; `ending` is None while it runs."""

    prompt: str
    caller: str
    time: float
    ending: str | None = None


@dataclass(frozen=True, slots=True)
class Mood:
    """How often what happens; the rest of the calls succeed. Latencies in seconds."""

    failing: float = 0.0
    breaking: float = 0.0
    invalid: float = 0.0
    throttling: float = 0.0
    hanging: float = 0.0
    refusing: float = 0.0
    max_latency: float = 3.0


class SimulatedProvider:
    """One account at the provider, for all executors."""

    def __init__(self, loop: SimulatedLoop, draws: random.Random, mood: Mood) -> None:
        self._loop = loop
        self._draws = draws
        self.mood = mood
        self.calls: list[Call] = []
        self.closed_until = 0.0
        self.on_call: Callable[[Call], None] = lambda _: None

    def client(self, caller: str) -> "SimulatedModel":
        return SimulatedModel(self, caller)

    async def answer(self, request: ModelRequest, caller: str) -> ModelAnswer:
        call = Call(request.prompt, caller, self._loop.now)
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
        if self._loop.now < self.closed_until:
            call.ending = "throttled"
            await asyncio.sleep(0.02)
            raise self._throttled(self.closed_until - self._loop.now)
        for share, ending in (
            (mood.hanging, "hung"),
            (mood.throttling, "throttled"),
            (mood.failing, "failed"),
            (mood.breaking, "broke"),
            (mood.invalid, "invalid"),
            (mood.refusing, "refused"),
        ):
            if chance < share:
                return await self._misbehave(call, ending, latency)
            chance -= share
        await asyncio.sleep(latency)
        call.ending = "succeeded"
        return self._answered(json.dumps({"echo": call.prompt}))

    async def _misbehave(self, call: Call, ending: str, latency: float) -> ModelAnswer:
        if ending == "hung":
            await asyncio.sleep(10_000)
        if ending == "throttled":
            self.closed_until = self._loop.now + self._draws.uniform(1.0, 10.0)
            call.ending = ending
            raise self._throttled(self.closed_until - self._loop.now)
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
        return self._answered('{"echo": 1}')

    def _answered(self, text: str) -> ModelAnswer:
        usage = Usage(input_tokens=1_200, output_tokens=20, image_tokens=1_120)
        return ModelAnswer(text=text, finish_reason="STOP", model_version="gemini-3.8-flash", usage=usage)

    def _throttled(self, seconds: float) -> ProviderRefused:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds:.3f}s"}
        body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": [delay]}}
        return ProviderRefused(status=429, body=json.dumps(body), retry_after=None)

    def most_in_a_minute(self) -> int:
        """Return the most calls that any 60 s window holds, those refused included."""
        times = sorted(call.time for call in self.calls)
        return max((sum(1 for other in times if time <= other < time + 60.0) for time in times), default=0)


class SimulatedModel:
    """Implements executor.ports.ModelClient."""

    def __init__(self, provider: SimulatedProvider, caller: str) -> None:
        self._provider = provider
        self._caller = caller

    async def analyze(self, request: ModelRequest) -> ModelAnswer:
        return await self._provider.answer(request, self._caller)


TIMEOUT = datetime.timedelta(seconds=20)
