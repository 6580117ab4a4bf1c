"""The ledger tells of every call that was billed, and of no other."""

import asyncio
import base64
import datetime
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings

URL = "/v1/models/gemini-3.5-flash-lite:generateContent"


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(create_app(EmulatorSettings(latency_seconds=0))) as url,
        httpx2.AsyncClient(base_url=url, headers={"x-goog-api-key": "test"}) as client,
    ):
        yield client


async def calls(http: httpx2.AsyncClient) -> list[dict[str, Any]]:
    ledger: list[dict[str, Any]] = (await http.get("/emulator/ledger")).json()["calls"]
    return ledger


async def test_a_billed_call_is_told_with_all_that_identifies_it(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    answer = (await http.post(URL, json=body)).json()

    [call] = await calls(http)

    image = base64.b64decode(body["contents"][0]["parts"][0]["inlineData"]["data"])
    usage = answer["usageMetadata"]
    assert call["response_id"] == answer["responseId"]
    assert (call["api_version"], call["model"], call["finish_reason"]) == ("v1", "gemini-3.5-flash-lite", "STOP")
    assert call["prompt_sha256"] == hashlib.sha256(b"What is this?").hexdigest()
    assert [entry["sha256"] for entry in call["images"]] == [hashlib.sha256(image).hexdigest()]
    assert (call["images"][0]["width"], call["images"][0]["height"]) == (64, 48)
    assert call["tokens"]["image"] == 1120
    assert call["tokens"]["prompt"] == usage["promptTokenCount"]
    assert call["tokens"]["candidates"] == usage["candidatesTokenCount"]
    assert call["tokens"]["total"] == usage["totalTokenCount"]
    assert datetime.datetime.fromisoformat(call["time"]).tzinfo is not None


async def test_only_billed_calls_are_counted(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await http.post(URL, json=body)
    await http.post(URL, json=body, headers={"x-goog-api-key": "invalid"})
    await http.post(URL, json={})
    await http.post(URL, json=body | {"generationConfig": {"maxOutputTokens": 3}})

    assert (await http.get("/emulator/ledger/count")).json() == {"count": 2}
    assert [call["finish_reason"] for call in await calls(http)] == ["STOP", "MAX_TOKENS"]


async def test_a_caller_that_hangs_up_while_it_waits_is_billed_all_the_same(body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    app = create_app(EmulatorSettings(latency_seconds=0.2))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(url).port)
        head = f"POST {URL} HTTP/1.1\r\nHost: emulator\r\nx-goog-api-key: test\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert b"100" in await reader.readuntil(b"\r\n\r\n")
        writer.write(content)
        # Answered after the body has arrived: the call is taken, and waits.
        assert await calls(http) == []

        writer.close()
        await writer.wait_closed()
        while not await calls(http):
            pass

        assert len(await calls(http)) == 1


async def test_a_cleared_ledger_starts_anew(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await http.post(URL, json=body)

    cleared = await http.delete("/emulator/ledger")

    assert cleared.status_code == 204
    assert await calls(http) == []
    await http.post(URL, json=body)
    assert len(await calls(http)) == 1
