"""Scripted faults: each does to a call what the real server does, and the ledger knows what was billed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from emulator_clients import GENERATE, google_client
from emulator_faults import billed, received, script
from google.genai import errors as genai_errors

from devkit.emulator.app import create_app
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.fault_script import FaultScript
from devkit.emulator.faults import Fault, FaultTarget, read_fault_option
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings

LITE = "/v1/models/gemini-3.5-flash-lite:generateContent"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(create_app(EmulatorSettings(latency_seconds=0))) as base_url:
        yield base_url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, headers={"x-goog-api-key": "test"}, timeout=20) as client:
        yield client


def detail(error: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any]
    [found] = [each for each in error["details"] if each["@type"] == f"type.googleapis.com/google.rpc.{kind}"]
    return found


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("429-bare", "429 RESOURCE_EXHAUSTED", "Resource has been exhausted"),
        ("429-billing", "429 RESOURCE_EXHAUSTED", "prepayment credits are depleted"),
        ("402", "402 RESOURCE_EXHAUSTED", "prepayment credits are depleted"),
        ("404", "404 NOT_FOUND", "is not found for API version v1beta"),
        ("500", "500 INTERNAL", "An internal error has occurred"),
        ("503", "503 UNAVAILABLE", "The model is overloaded"),
        ("504", "504 DEADLINE_EXCEEDED", "Deadline expired"),
    ],
)
async def test_an_error_is_told_in_the_servers_words_and_not_billed(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str, status: str, words: str
) -> None:
    await script(http, kind, count=1)

    failed = await http.post(GENERATE, json=body)
    after = await http.post(GENERATE, json=body)

    error = failed.json()["error"]
    assert f"{failed.status_code} {error['status']}" == f"{error['code']} {error['status']}" == status
    assert words in error["message"]
    assert "details" not in error
    assert after.status_code == 200
    assert len(await billed(http)) == 1


@pytest.mark.parametrize(
    ("kind", "quota"),
    [
        ("429", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        ("429-day", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    ],
)
async def test_an_exceeded_quota_names_itself_and_a_time(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str, quota: str
) -> None:
    await script(http, kind, count=1, retry_seconds=2.5)

    error = (await http.post(GENERATE, json=body)).json()["error"]

    assert error["code"] == 429
    assert detail(error, "RetryInfo")["retryDelay"] == "2.500s"
    [violation] = detail(error, "QuotaFailure")["violations"]
    assert violation["quotaId"] == quota
    assert violation["quotaDimensions"]["model"] == "gemini-3.8-flash"
    assert error["message"].endswith("Please retry in 2.500s.")
    assert await billed(http) == []


async def test_googles_own_client_reads_the_errors(url: str, http: httpx2.AsyncClient) -> None:
    await script(http, "503", count=1)
    async with google_client(url) as client:
        with pytest.raises(genai_errors.ServerError) as failed:
            await client.aio.models.generate_content(model="gemini-3.8-flash", contents="What is this?")

    assert (failed.value.code, failed.value.status) == (503, "UNAVAILABLE")


async def test_a_proxys_page_comes_in_place_of_json(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "html")

    failed = await http.post(GENERATE, json=body)

    assert failed.status_code == 502
    assert failed.headers["content-type"].startswith("text/html")
    assert await billed(http) == []


@pytest.mark.parametrize("kind", ["empty", "not-json"])
async def test_a_body_that_is_no_json_is_billed(http: httpx2.AsyncClient, body: dict[str, Any], kind: str) -> None:
    await script(http, kind)

    answer = await http.post(GENERATE, json=body)

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert len(await billed(http)) == 1


async def test_a_blocked_prompt_has_no_candidate_and_costs_its_input(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "blocked")

    answer = (await http.post(GENERATE, json=body)).json()

    assert answer["promptFeedback"] == {"blockReason": "SAFETY"}
    assert "candidates" not in answer
    assert "candidatesTokenCount" not in answer["usageMetadata"]
    [call] = await billed(http)
    assert (call["finish_reason"], call["tokens"]["total"]) == ("", call["tokens"]["prompt"])


async def test_an_answer_at_its_limit_is_cut_in_the_middle(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "max-tokens")

    [candidate] = (await http.post(GENERATE, json=body)).json()["candidates"]

    assert candidate["finishReason"] == "MAX_TOKENS"
    with pytest.raises(json.JSONDecodeError):
        json.loads(candidate["content"]["parts"][0]["text"])
    assert [call["finish_reason"] for call in await billed(http)] == ["MAX_TOKENS"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
        {"type": "string"},
        {"type": "number"},
        {"type": "array", "items": {"type": "null"}},
    ],
)
async def test_an_answer_of_the_wrong_shape_is_json_that_its_schema_refuses(
    http: httpx2.AsyncClient, body: dict[str, Any], schema: dict[str, Any]
) -> None:
    body["generationConfig"]["responseJsonSchema"] = schema
    await script(http, "wrong-schema")

    [candidate] = (await http.post(GENERATE, json=body)).json()["candidates"]

    assert candidate["finishReason"] == "STOP"
    assert not jsonschema_rs.is_valid(schema, json.loads(candidate["content"]["parts"][0]["text"]))
    assert len(await billed(http)) == 1


@pytest.mark.parametrize(("kind", "bills"), [("reset-before", 0), ("reset-after", 1)])
async def test_a_reset_connection_tells_nothing_of_the_bill(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str, bills: int
) -> None:
    await script(http, kind, count=1)

    with pytest.raises(httpx2.ReadError):
        await http.post(GENERATE, json=body)

    assert len(await billed(http)) == bills
    [call] = await received(http)
    assert (call["status"], call["billed"]) == (None, bool(bills))
    assert (await http.post(GENERATE, json=body)).status_code == 200


async def test_a_truncated_body_ends_before_its_length(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "truncated")

    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        await http.post(GENERATE, json=body)

    assert len(await billed(http)) == 1


async def test_a_call_that_hangs_is_never_answered_nor_billed(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "hang", count=1)
    hanging = asyncio.create_task(http.post(GENERATE, json=body))
    await received(http, count=1)

    # Another call is answered meanwhile.
    assert (await http.post(GENERATE, json=body)).status_code == 200
    assert not hanging.done()

    hanging.cancel()
    await asyncio.wait([hanging])
    assert [call["status"] for call in await received(http)] == [None, 200]
    assert len(await billed(http)) == 1


async def test_a_call_that_hangs_does_not_keep_the_server(body: dict[str, Any]) -> None:
    settings = EmulatorSettings(latency_seconds=0, faults=(Fault(kind=FaultKind.HANG),))
    async with httpx2.AsyncClient(headers={"x-goog-api-key": "test"}, timeout=20) as http:
        async with serving(create_app(settings)) as url:
            hanging = asyncio.create_task(http.post(url + GENERATE, json=body))
            await http.get(f"{url}/emulator/calls", params={"count": 1})

        with pytest.raises(httpx2.ReadError):
            await hanging


async def test_a_slow_call_takes_longer_than_its_caller_waits(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "slow", seconds=3600, count=1)
    await script(http, "slow", seconds=0.01, count=1)

    late = await http.post(GENERATE, json=body, headers={"x-server-timeout": "0.05"})
    soon = await http.post(GENERATE, json=body, headers={"x-server-timeout": "20"})

    assert (late.status_code, soon.status_code) == (504, 200)
    assert len(await billed(http)) == 1


async def test_a_fault_hits_as_many_calls_as_it_counts_and_only_of_its_model(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "503", count=2, model="gemini-3.8-flash")

    statuses = [(await http.post(path, json=body)).status_code for path in (LITE, GENERATE, LITE, GENERATE, GENERATE)]

    assert statuses == [200, 503, 200, 503, 200]
    assert [call["fault"] for call in await received(http)] == ["", "503", "", "503", ""]
    [line] = (await http.get("/emulator/faults")).json()["faults"]
    assert (line["kind"], line["model"], line["hits"]) == ("503", "gemini-3.8-flash", 2)


async def test_faults_are_taken_in_their_order_and_cleared_at_once(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "503", count=1)
    await script(http, "500")

    before = [(await http.post(GENERATE, json=body)).status_code for _ in range(3)]
    assert (await http.delete("/emulator/faults")).status_code == 204
    after = (await http.post(GENERATE, json=body)).status_code

    assert (before, after) == ([503, 500, 500], 200)
    assert (await http.get("/emulator/faults")).json() == {"faults": []}


async def test_a_call_that_is_refused_anyway_uses_up_no_fault(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "503", count=1)

    refused = await http.post(GENERATE, json={})
    failed = await http.post(GENERATE, json=body)

    assert (refused.status_code, failed.status_code) == (400, 503)


def test_a_rate_hits_its_part_of_the_calls_and_the_seed_decides_which() -> None:
    def hits(seed: int) -> list[bool]:
        faults = FaultScript(seed=seed)
        faults.add(Fault(kind=FaultKind.UNAVAILABLE, rate=0.2))
        return [faults.draw(FaultTarget(provider="gemini", model="any")) is not None for _ in range(2000)]

    assert 0.15 < sum(hits(1)) / 2000 < 0.25
    assert hits(1) == hits(1)
    assert hits(1) != hits(2)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ([], "an object with a kind"),
        ({}, "an object with a kind"),
        ({"kind": "418"}, "418 is no kind of fault"),
        ({"kind": "503", "times": 1}, "no times"),
        ({"kind": "503", "count": 0}, "count must be"),
        ({"kind": "503", "count": True}, "count is of the wrong type"),
        ({"kind": "503", "rate": 1.5}, "rate must be"),
        ({"kind": "503", "seconds": 1}, "seconds says nothing"),
        ({"kind": "slow", "seconds": -1}, "seconds must be"),
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused_with_a_sentence(
    http: httpx2.AsyncClient, fault: object, words: str
) -> None:
    refused = await http.post("/emulator/faults", json=fault)

    assert refused.status_code == 400
    assert words in refused.json()["error"]
    assert (await http.get("/emulator/faults")).json() == {"faults": []}


@pytest.mark.parametrize("text", ["503", "503=", "503=2", "418=0.1", "=0.1"])
def test_an_option_that_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"KIND=RATE|rate|kind"):
        read_fault_option(text)
