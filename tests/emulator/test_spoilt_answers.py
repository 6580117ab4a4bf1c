"""Answers that are billed and useless, in every way that is known of the real providers."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from emulator_chats import CHAT, SCHEMA, chat
from emulator_clients import GENERATE, google_client
from emulator_faults import billed, emulator, hit_by, script


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


async def gemini(http: httpx2.AsyncClient, body: dict[str, Any], kind: str) -> dict[str, Any]:
    answer = await http.post(GENERATE, json=body, headers=hit_by(kind))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def deepseek(http: httpx2.AsyncClient, kind: str) -> dict[str, Any]:
    answer = await http.post(CHAT, json=chat(), headers=hit_by(kind))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def text_of(document: dict[str, Any]) -> str:
    if "choices" in document:
        content: str = document["choices"][0]["message"]["content"]
        return content
    text: str = document["candidates"][0]["content"]["parts"][0]["text"]
    return text


async def both(http: httpx2.AsyncClient, body: dict[str, Any], kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return text, reason and schema of what either provider answers."""
    google, other = await gemini(http, body, kind), await deepseek(http, kind)
    schema = body["generationConfig"]["responseJsonSchema"]
    assert len(await billed(http)) == 2
    return [
        (text_of(google), google["candidates"][0]["finishReason"], schema),
        (text_of(other), other["choices"][0]["finish_reason"], SCHEMA),
    ]


@pytest.mark.parametrize("kind", ["safety", "recitation", "language", "other"])
async def test_an_answer_may_be_nothing_but_the_reason_why_it_ended(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str
) -> None:
    document = await gemini(http, body, kind)

    assert document["candidates"] == [{"finishReason": kind.upper(), "index": 0}]
    assert document["usageMetadata"]["thoughtsTokenCount"] > 0
    assert [call["finish_reason"] for call in await billed(http)] == [kind.upper()]


async def test_any_reason_may_be_asked_for(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    asked = json.dumps({"kind": "finish-reason", "reason": "IMAGE_SAFETY"})

    unknown, known = await gemini(http, body, "unknown-reason"), await gemini(http, body, asked)

    assert [each["candidates"][0]["finishReason"] for each in (unknown, known)] == ["BRAND_NEW", "IMAGE_SAFETY"]


async def test_a_block_may_have_any_reason(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    document = await gemini(http, body, json.dumps({"kind": "blocked", "reason": "PROHIBITED_CONTENT"}))

    assert document["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in document


async def test_an_answer_may_be_missing_in_every_depth(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    kinds = ("no-candidates", "no-content", "no-parts", "thoughts-only", "max-tokens-no-parts")
    none, content, parts, thoughts, spent = [await gemini(http, body, kind) for kind in kinds]

    assert "candidates" not in none
    assert "promptFeedback" not in none
    assert content["candidates"] == [{"finishReason": "STOP", "index": 0}]
    assert parts["candidates"] == [{"content": {"role": "model"}, "finishReason": "STOP", "index": 0}]
    assert [part["thought"] for part in thoughts["candidates"][0]["content"]["parts"]] == [True]
    assert spent["candidates"] == [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]
    assert spent["usageMetadata"]["thoughtsTokenCount"] > 0
    assert len(await billed(http)) == 5


async def test_deepseeks_answer_may_be_missing_in_every_depth(http: httpx2.AsyncClient) -> None:
    kinds = ("no-candidates", "no-content", "no-parts", "thoughts-only", "whitespace")
    none, content, parts, thoughts, blank = [await deepseek(http, kind) for kind in kinds]

    assert none["choices"] == []
    assert "message" not in content["choices"][0]
    assert text_of(parts) == ""
    assert (text_of(thoughts), bool(thoughts["choices"][0]["message"]["reasoning_content"])) == ("", True)
    assert text_of(blank)
    assert text_of(blank).isspace()
    assert blank["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("content-filter", "content_filter"), ("insufficient-resource", "insufficient_system_resource")],
)
async def test_deepseek_has_reasons_of_its_own(http: httpx2.AsyncClient, kind: str, reason: str) -> None:
    assert (await deepseek(http, kind))["choices"][0]["finish_reason"] == reason


async def test_a_looping_answer_repeats_its_tail_up_to_the_limit(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    for (text, reason, _), limit in zip(await both(http, body, "looping"), ("MAX_TOKENS", "length"), strict=True):
        assert reason == limit
        assert text.endswith(" emulated again and" * 400)


async def test_a_continuation_has_a_token_and_half_of_the_text(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    [candidate] = (await gemini(http, body, "continuation"))["candidates"]

    assert (candidate["finishReason"], candidate["continuationToken"]) == ("CONTINUATION", "emulated")


async def test_json_may_come_in_a_fence_with_a_prefix_or_cut(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    fenced = text_of(await gemini(http, body, "fenced-json"))
    prefixed = text_of(await gemini(http, body, "prefixed-json"))
    cut = await gemini(http, body, "cut-json")

    whole = json.loads(fenced.removeprefix("```json\n").removesuffix("\n```"))
    assert fenced.startswith("```json\n")
    assert json.loads(prefixed.removeprefix("ny")) == whole
    assert cut["candidates"][0]["finishReason"] == "STOP"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text_of(cut))


async def test_one_wrong_value_spoils_an_answer_that_fits_otherwise(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    line = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}
    schema = {
        "type": "object",
        "properties": {"what": {"type": "string"}, "lines": {"type": "array", "items": line, "minItems": 2}},
        "required": ["what", "lines"],
    }
    body["generationConfig"]["responseJsonSchema"] = schema

    document = json.loads(text_of(await gemini(http, body, "wrong-value")))

    [error] = jsonschema_rs.validator_for(schema).iter_errors(document)
    assert list(error.instance_path) == ["lines", 0, "price"]
    assert jsonschema_rs.is_valid({"type": "object", "required": ["what", "lines"]}, document)


async def test_both_providers_give_values_that_their_schema_refuses(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    for text, _, schema in await both(http, body, "wrong-value"):
        assert not jsonschema_rs.is_valid(schema, json.loads(text))


async def test_json_may_be_nested_deeper_than_anybody_reads(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    for text, _, _ in await both(http, body, "deep-json"):
        with pytest.raises(RecursionError):
            json.loads(text)


async def test_a_string_may_hold_half_a_surrogate_pair_and_a_nul(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    for text, _, schema in await both(http, body, "lone-surrogate"):
        document = json.loads(text)
        assert jsonschema_rs.is_valid(schema, json.loads(text.replace("\\ud800", "")))
        assert any("\ud800\0" in value for value in document.values() if isinstance(value, str))


@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_body_may_hold_bytes_that_are_no_utf8(
    http: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    answer = await http.post(path, json=body if path == GENERATE else chat(), headers=hit_by("odd-utf8"))

    with pytest.raises(UnicodeDecodeError):
        answer.content.decode()
    assert json.loads(answer.content.decode(errors="replace"))


async def test_usage_may_be_missing_and_is_billed_all_the_same(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    assert "usageMetadata" not in await gemini(http, body, "no-usage")
    assert "usage" not in await deepseek(http, "no-usage")
    assert all(call["tokens"]["total"] for call in await billed(http))


async def test_another_model_may_have_answered(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    fault = json.dumps({"kind": "rerouted", "served_model": "gemini-3.5-flash-lite"})

    document = await gemini(http, body, fault)

    assert document["modelVersion"] == "gemini-3.5-flash-lite-emulator"
    [call] = await billed(http)
    assert (call["model"], call["served_model"]) == ("gemini-3.8-flash", "gemini-3.5-flash-lite")


async def test_a_tier_may_be_downgraded(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    body["serviceTier"] = "priority"

    kept = await http.post(GENERATE, json=body)
    lost = await gemini(http, body, "downgraded")

    assert kept.json()["usageMetadata"]["serviceTier"] == "priority"
    assert lost["usageMetadata"]["serviceTier"] == "standard"


@pytest.mark.parametrize(
    ("kind", "text"), [("no-candidates", None), ("no-parts", None), ("thoughts-only", None), ("safety", None)]
)
async def test_googles_own_client_finds_no_text(kind: str, text: str | None) -> None:
    async with emulator() as http, google_client(str(http.base_url)) as client:
        await script(http, kind)
        response = await client.aio.models.generate_content(model="gemini-3.8-flash", contents="What is this?")

    assert response.text == text


async def test_prompts_are_told_apart_by_their_hash(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "503", prompt_sha256=hashlib.sha256(b"What is this?").hexdigest())
    other = {"contents": [{"parts": [{"text": "Something else?"}]}]}

    statuses = [(await http.post(GENERATE, json=sent)).status_code for sent in (other, body, other)]

    assert statuses == [200, 503, 200]
