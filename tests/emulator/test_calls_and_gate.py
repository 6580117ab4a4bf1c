"""The log of calls, and the gate at which they can be held."""

import asyncio
import datetime
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_clients import GENERATE
from emulator_faults import billed, received, script

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(create_app(EmulatorSettings(latency_seconds=0))) as url,
        httpx2.AsyncClient(base_url=url, headers={"x-goog-api-key": "test"}, timeout=20) as client,
    ):
        yield client


async def release(http: httpx2.AsyncClient) -> int:
    released: int = (await http.post("/emulator/release")).json()["released"]
    return released


async def test_every_call_is_told_with_its_time_and_what_became_of_it(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    before = datetime.datetime.now(datetime.UTC)
    await http.post(GENERATE, json=body)
    await http.post(GENERATE, json={})

    sound, unsound = await received(http)

    [call] = await billed(http)
    assert (sound["number"], sound["status"], sound["billed"]) == (1, 200, True)
    assert (unsound["number"], unsound["status"], unsound["billed"]) == (2, 400, False)
    assert (call["call_number"], call["start_time"]) == (1, sound["time"])
    assert call["prompt_sha256"] == sound["prompt_sha256"]
    assert (sound["model"], unsound["prompt_sha256"]) == ("gemini-3.8-flash", "")
    assert before <= datetime.datetime.fromisoformat(sound["time"]) <= datetime.datetime.fromisoformat(call["time"])


async def test_a_poll_waits_for_the_nth_call_and_no_longer_than_told(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    polling = asyncio.create_task(received(http, count=2))
    await http.post(GENERATE, json=body)
    assert (await http.get("/emulator/calls", params={"count": 2, "seconds": 0})).json()["count"] == 1
    assert not polling.done()

    await http.post(GENERATE, json=body)

    assert len(await polling) == 2


async def test_a_poll_counts_only_the_calls_that_are_meant(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    prompt = {"prompt_sha256": hashlib.sha256(b"What is this?").hexdigest()}
    polling = asyncio.create_task(http.get("/emulator/calls", params=prompt | {"count": 1}))
    other = {"contents": [{"parts": [{"text": "Something else?"}]}]}
    await http.post("/v1/models/gemini-3.5-flash:generateContent", json=other)
    await http.post(GENERATE, json=body)

    [call] = (await polling).json()["calls"]

    assert (call["number"], call["prompt_sha256"]) == (2, prompt["prompt_sha256"])
    of_model = (await http.get("/emulator/calls", params={"model": "gemini-3.5-flash"})).json()
    assert [call["number"] for call in of_model["calls"]] == [1]


async def test_a_cleared_log_counts_anew(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await http.post(GENERATE, json=body)

    assert (await http.delete("/emulator/calls")).status_code == 204

    assert await received(http) == []
    await http.post(GENERATE, json=body)
    assert [call["number"] for call in await received(http, count=1)] == [2]


@pytest.mark.parametrize("query", [{"count": "x"}, {"count": -1}, {"seconds": 301}, {"seconds": "nan"}])
async def test_a_poll_that_makes_no_sense_is_refused(http: httpx2.AsyncClient, query: dict[str, Any]) -> None:
    assert (await http.get("/emulator/calls", params=query)).status_code == 400


async def test_held_calls_wait_for_their_release_and_are_billed_after_it(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "hold")
    held = [asyncio.create_task(http.post(GENERATE, json=body)) for _ in range(2)]
    calls = await received(http, count=2)
    assert [(call["fault"], call["status"]) for call in calls] == [("hold", None)] * 2
    assert await billed(http) == []

    assert await release(http) == 2

    assert [(await task).status_code for task in held] == [200, 200]
    assert len(await billed(http)) == 2
    # The gate stays open.
    assert (await http.post(GENERATE, json=body)).status_code == 200


async def test_a_released_call_goes_on_with_the_next_line_of_the_script(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "hold", count=1)
    held = asyncio.create_task(http.post(GENERATE, json=body))
    await received(http, count=1)
    assert (await http.post(GENERATE, json=body)).status_code == 200
    await script(http, "503", count=1)

    assert await release(http) == 1

    assert (await held).status_code == 503


async def test_a_server_that_goes_away_lets_held_calls_go(body: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(headers={"x-goog-api-key": "test"}, timeout=20) as http:
        async with serving(create_app(EmulatorSettings(latency_seconds=0))) as url:
            await http.post(f"{url}/emulator/faults", json={"kind": "hold"})
            held = asyncio.create_task(http.post(url + GENERATE, json=body))
            await http.get(f"{url}/emulator/calls", params={"count": 1})

        assert (await held).status_code == 503
