"""What became of each answer: the ledger counts what was billed and never got to its caller."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_chats import CHAT, chat
from emulator_clients import GENERATE
from emulator_faults import billed, emulator, hit_by, received, script


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


async def leave(task: asyncio.Task[httpx2.Response]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def fates(http: httpx2.AsyncClient, count: int) -> list[str]:
    """Return the fates of the calls, as soon as all are known."""
    async with asyncio.timeout(20):
        while True:
            calls = await received(http, count=count)
            if all(call["fate"] for call in calls):
                return [call["fate"] for call in calls]


async def summary(http: httpx2.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get("/emulator/ledger", params={"summary": 1})).json()
    return found


async def test_every_fate_is_told(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await http.post(GENERATE, json=body)
    for kind in ("truncated", "reset-after", "reset-before"):
        with pytest.raises(httpx2.TransportError):
            await http.post(GENERATE, json=body, headers=hit_by(kind))

    assert await fates(http, 4) == ["whole", "cut", "reset", "reset"]
    assert [(call["fate"], call["delivered"]) for call in await billed(http)] == [
        ("whole", True),
        ("cut", False),
        ("reset", False),
    ]


@pytest.mark.parametrize("after", ["", "reset-after", "truncated", "trickle", "503", "hang"])
async def test_a_held_caller_that_has_gone_reads_nothing_and_leaves_no_trace_in_the_log(
    http: httpx2.AsyncClient, body: dict[str, Any], caplog: pytest.LogCaptureFixture, after: str
) -> None:
    await script(http, "hold", count=1)
    held = asyncio.create_task(http.post(GENERATE, json=body))
    await received(http, count=1)
    if after:
        await script(http, after, count=1)
    with caplog.at_level(logging.WARNING):
        await leave(held)
        await http.post("/emulator/release")
        assert await fates(http, 1) == ["unread"]

    assert [call["delivered"] for call in await billed(http)] == ([] if after in ("503", "hang") else [False])
    assert caplog.records == []


@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_caller_that_leaves_a_hanging_call_leaves_no_trace_in_the_log(
    http: httpx2.AsyncClient, body: dict[str, Any], caplog: pytest.LogCaptureFixture, path: str
) -> None:
    sent = body if path == GENERATE else chat()
    hanging = asyncio.create_task(http.post(path, json=sent, headers=hit_by("hang")))
    await received(http, count=1)

    with caplog.at_level(logging.WARNING):
        await leave(hanging)
        assert await fates(http, 1) == ["unread"]

    assert caplog.records == []
    assert await billed(http) == []


async def test_a_caller_that_leaves_between_blank_lines_has_paid_for_them(
    http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await http.put("/emulator/latency", json={"default": {"kind": "fixed", "seconds": 2.1}})
    with caplog.at_level(logging.WARNING):
        async with http.stream("POST", CHAT, json=chat()) as answer:
            assert await anext(answer.aiter_raw()) == b"\n"
        assert await fates(http, 1) == ["cut"]

    assert [call["delivered"] for call in await billed(http)] == [False]
    assert caplog.records == []


async def test_the_summary_adds_up_by_provider_model_tier_and_fate(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await http.post(GENERATE, json=body)
    await http.post(GENERATE, json=body)
    await http.post(GENERATE, json=body | {"serviceTier": "flex"})
    await http.post(CHAT, json=chat())
    await http.post(CHAT, json=chat(), headers=hit_by("503"))
    with pytest.raises(httpx2.TransportError):
        await http.post(GENERATE, json=body, headers=hit_by("reset-after"))

    found = await summary(http)

    calls = await billed(http)
    names = ("provider", "model", "service_tier", "fate", "count")
    assert [tuple(row[name] for name in names) for row in found["rows"]] == [
        ("deepseek", "deepseek-v4-flash", "", "whole", 1),
        ("gemini", "gemini-3.8-flash", "flex", "whole", 1),
        ("gemini", "gemini-3.8-flash", "standard", "reset", 1),
        ("gemini", "gemini-3.8-flash", "standard", "whole", 2),
    ]
    assert (found["count"], found["undelivered"]) == (5, 1)
    assert found["tokens"]["total"] == sum(call["tokens"]["total"] for call in calls)
    assert found["rows"][3]["tokens"]["image"] == 2240


async def test_a_cleared_ledger_adds_up_to_nothing(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await http.post(GENERATE, json=body)
    await http.delete("/emulator/ledger")

    assert await summary(http) == {"count": 0, "tokens": {}, "undelivered": 0, "rows": []}


async def test_bills_and_calls_tell_tier_and_fault(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    fault = json.dumps({"kind": "cut-json"})
    await http.post(GENERATE, json=body | {"serviceTier": "flex"}, headers=hit_by(fault))

    [call], [bill] = await received(http), await billed(http)

    for told in (call, bill):
        assert (told["provider"], told["service_tier"], told["fault"]) == ("gemini", "flex", "cut-json")
