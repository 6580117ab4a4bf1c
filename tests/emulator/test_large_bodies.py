"""A call with many megabytes is read beside the others, not before them."""

import datetime
import json
import threading
from typing import Any

import pytest

from devkit.emulator.controls import Controls
from devkit.emulator.exchange import Call, Exchange, Question
from devkit.emulator.fault_script import FaultScript
from devkit.emulator.gemini import Gemini
from devkit.emulator.latency import Latency
from devkit.emulator.models import Models
from devkit.emulator.quotas import Limits, Quotas
from devkit.emulator.reply import Fate, Reply
from devkit.emulator.settings import EmulatorSettings
from runtime.tasks import task_group

MODEL = "gemini-3.8-flash"
NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


class SlowReader(Gemini):
    """Reads a large body only when a small one has been answered after it."""

    def __init__(self, controls: Controls) -> None:
        super().__init__(controls)
        self.other_is_answered = threading.Event()
        self.has_begun = threading.Event()

    def question(self, call: Call) -> Question:
        if len(call.body) > 1_000_000:
            self.has_begun.set()
            assert self.other_is_answered.wait(20)
        return super().question(call)


class FakeLine:
    def __init__(self) -> None:
        self.replies: list[Reply] = []

    async def send(self, reply: Reply) -> Fate:
        self.replies.append(reply)
        return Fate.WHOLE

    async def send_blank_line(self) -> None:
        raise AssertionError("Gemini sends none")


@pytest.fixture
def controls() -> Controls:
    settings = EmulatorSettings(latency_seconds=0)
    return Controls(
        faults=FaultScript(),
        quotas=Quotas(Limits()),
        latency=Latency(settings.all_latencies, seed=0),
        models=Models(gemini=settings.models, deepseek=settings.deepseek_models),
    )


def call(text: str) -> Call:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": text}]}]}
    return Call(
        begin_time=NOW,
        api_version="v1",
        model=MODEL,
        api_key="test",
        deadline_seconds=None,
        fault=None,
        body=json.dumps(body).encode(),
    )


async def test_a_large_body_does_not_keep_a_small_one_waiting(controls: Controls) -> None:
    reader = SlowReader(controls)
    exchange = Exchange(reader, controls)
    large, small = FakeLine(), FakeLine()

    async def answer_small() -> None:
        await exchange.run(call("small"), small)
        assert large.replies == []
        reader.other_is_answered.set()

    async with task_group() as tasks:
        tasks.create_task(exchange.run(call("x" * 1_000_001), large))
        tasks.create_task(answer_small())

    assert reader.has_begun.is_set()
    assert [line.replies[0].status for line in (large, small)] == [200, 200]
