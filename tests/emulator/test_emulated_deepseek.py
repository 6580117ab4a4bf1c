"""DeepSeek's chat completions, as the executor asks for them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from emulator_chats import CHAT, MODEL, SCHEMA, chat
from emulator_faults import billed, emulator, received, script


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


async def answer_to(http: httpx2.AsyncClient, body: dict[str, Any], path: str = CHAT) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def refusal(http: httpx2.AsyncClient, body: object, *, status: int) -> str:
    answer = await http.post(CHAT, json=body)
    assert answer.status_code == status, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def content_of(document: dict[str, Any]) -> str:
    content: str = document["choices"][0]["message"]["content"]
    return content


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("model", ["deepseek-v4-flash", "deepseek-v4-pro"])
async def test_a_prompt_is_answered_with_json_that_fits_the_schema_in_it(
    http: httpx2.AsyncClient, path: str, model: str
) -> None:
    document = await answer_to(http, chat(model=model), path)

    answer = json.loads(content_of(document))
    assert jsonschema_rs.is_valid(SCHEMA, answer)
    assert "emulated" in answer["verdict"]
    assert (document["object"], document["model"]) == ("chat.completion", f"{model}-emulator")
    assert document["choices"][0]["finish_reason"] == "stop"
    assert "reasoning_content" not in document["choices"][0]["message"]


async def test_the_prompt_decides_the_answer(http: httpx2.AsyncClient) -> None:
    first, again, other = [content_of(await answer_to(http, chat(prompt))) for prompt in ("One", "One", "Two")]

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"kind": {"const": "invoice"}}, "required": ["kind"]},
        {"$defs": {"a": {"type": "integer"}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "array", "items": {"type": "string"}, "minItems": 2},
    ],
)
async def test_schemas_of_other_shapes_are_met(http: httpx2.AsyncClient, schema: dict[str, Any]) -> None:
    answer = json.loads(content_of(await answer_to(http, chat(schema=schema))))

    assert jsonschema_rs.is_valid(schema, answer)


@pytest.mark.parametrize(
    "schema",
    [{"type": "string", "pattern": "^[0-9]{9}$"}, {"enum": []}, {"$ref": 7}, {"type": 3}, {"allOf": 1}, "none"],
)
async def test_what_cannot_be_met_gets_a_generic_object(http: httpx2.AsyncClient, schema: object) -> None:
    answer = json.loads(content_of(await answer_to(http, chat(schema=schema))))

    assert list(answer) == ["emulated"]
    assert "DeepSeek emulator" in answer["emulated"]


async def test_without_json_mode_the_answer_is_a_sentence(http: httpx2.AsyncClient) -> None:
    document = await answer_to(http, {"model": MODEL, "messages": [{"role": "user", "content": "Who are you?"}]})

    assert "made up by the DeepSeek emulator" in content_of(document)


async def test_usage_adds_up_and_thinking_is_on_unless_it_is_switched_off(http: httpx2.AsyncClient) -> None:
    body = chat("Judge this. " * 30)
    thoughtless = await answer_to(http, body)
    del body["thinking"]
    thoughtful = await answer_to(http, body)

    assert thoughtful["choices"][0]["message"]["reasoning_content"]
    for document in (thoughtless, thoughtful):
        used = document["usage"]
        assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
        assert used["prompt_tokens"] == used["prompt_cache_hit_tokens"] + used["prompt_cache_miss_tokens"]
    assert thoughtless["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert thoughtful["usage"]["completion_tokens_details"] == {"reasoning_tokens": 96}
    # The same prompt was seen just before.
    assert thoughtless["usage"]["prompt_cache_hit_tokens"] == 0
    assert thoughtful["usage"]["prompt_cache_hit_tokens"] == thoughtful["usage"]["prompt_tokens"] // 64 * 64 > 0
    assert [call["tokens"]["total"] for call in await billed(http)] == [
        document["usage"]["total_tokens"] for document in (thoughtless, thoughtful)
    ]


async def test_an_answer_ends_at_its_limit(http: httpx2.AsyncClient) -> None:
    document = await answer_to(http, chat(max_tokens=3))

    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer invalid-key", "Basic dGVzdA=="])
async def test_a_key_that_is_none_is_refused(http: httpx2.AsyncClient, key: str) -> None:
    answer = await http.post(CHAT, json=chat(), headers={"authorization": key})

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "invalid-key" not in answer.text


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "deepseek-chat"}, 400, "Model Not Exist"),
        ({"messages": []}, 400, "Empty input messages"),
        ({"messages": [{"role": "user", "content": "Hello"}]}, 400, "must contain the word 'json'"),
        ({"messages": [{"role": "user", "content": 7}]}, 422, "messages[0]: content"),
        ({"messages": [{"role": "robot", "content": "json"}]}, 422, "messages[0]: role"),
        ({"messages": "json"}, 422, "messages: invalid type"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format type is unavailable"),
        ({"temperature": 2.5}, 400, "Invalid temperature"),
        ({"temperature": "hot"}, 422, "temperature"),
        ({"max_tokens": 0}, 400, "Invalid max_tokens"),
        ({"max_tokens": True}, 422, "max_tokens"),
        ({"thinking": {"type": "some"}}, 422, "thinking.type"),
        ({"stream": True}, 501, "does not emulate stream"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    http: httpx2.AsyncClient, fields: dict[str, Any], status: int, words: str
) -> None:
    assert words in await refusal(http, chat(**fields), status=status)
    assert await billed(http) == []


@pytest.mark.parametrize("content", [b"", b"{", b"NaN", b"[" * 200_000])
async def test_a_body_that_is_no_json_is_refused(http: httpx2.AsyncClient, content: bytes) -> None:
    answer = await http.post(CHAT, content=content)

    assert answer.status_code == 400
    assert "parse" in answer.json()["error"]["message"]


async def test_a_slow_answer_is_announced_by_blank_lines(http: httpx2.AsyncClient) -> None:
    await http.put("/emulator/latency", json={"default": {"kind": "fixed", "seconds": 1.2}})

    async with http.stream("POST", CHAT, json=chat()) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]

    assert pieces[0] == b"\n"
    assert json.loads(b"".join(pieces))["choices"]
    assert [(call["status"], call["fate"]) for call in await received(http)] == [(200, "whole")]


async def test_a_slow_error_keeps_its_status(http: httpx2.AsyncClient) -> None:
    await http.put("/emulator/latency", json={"default": {"kind": "fixed", "seconds": 1.1}})
    await script(http, "503")

    answer = await http.post(CHAT, json=chat())

    assert answer.status_code == 503


async def test_more_calls_at_once_than_may_be_are_refused(http: httpx2.AsyncClient) -> None:
    await http.put("/emulator/quotas", json={"deepseek_concurrent_requests": 2})
    await script(http, "hold", count=2)
    held = [asyncio.create_task(http.post(CHAT, json=chat())) for _ in range(2)]
    await received(http, count=2)

    refused = await http.post(CHAT, json=chat())
    other = await http.post(CHAT, json=chat(model="deepseek-v4-pro"))
    await http.post("/emulator/release")
    answers = [await each for each in held]
    after = await http.post(CHAT, json=chat())

    assert (refused.status_code, other.status_code, after.status_code) == (429, 200, 200)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [call["over_quota"] for call in await received(http)] == [False, False, True, False, False]


async def test_bills_tell_the_provider(http: httpx2.AsyncClient) -> None:
    await http.post("/v1/chat/completions", json=chat())

    [call] = await billed(http)

    assert (call["provider"], call["model"], call["api_version"]) == ("deepseek", MODEL, "v1")
    assert call["service_tier"] == ""
