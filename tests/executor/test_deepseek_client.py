import asyncio
import datetime
import json
import threading
import time
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from executor_world import SCHEMA
from fake_provider import FakeProvider, close, reset, response, serving
from hypothesis import given
from hypothesis import strategies as st

from executor import http_calls
from executor.deepseek import answer as answers
from executor.deepseek.client import DeepSeekClient, open_client
from executor.deepseek.request import DEFAULT_MAX_TOKENS
from executor.loop_thread import LoopThread
from executor.ports import (
    ConnectionBroken,
    ModelAnswer,
    ModelImage,
    ModelRequest,
    NotConnected,
    ProviderRefused,
    UnreadableAnswer,
    UnsendableRequest,
)
from executor.work import Generation, Usage

USAGE = {
    "prompt_tokens": 300,
    "completion_tokens": 40,
    "total_tokens": 340,
    "prompt_cache_hit_tokens": 256,
    "prompt_cache_miss_tokens": 44,
    "completion_tokens_details": {"reasoning_tokens": 15},
}


def request(**changes: object) -> ModelRequest:
    fields: dict[str, object] = {
        "provider": "deepseek",
        "model": "deepseek-v4-flash",
        "prompt": "Put the items in order.",
        "input_json": '{"items":["b","ä"]}',
        "system_instruction": "",
        "images": (),
        "schema_json": SCHEMA,
        "generation": Generation(),
        "timeout": datetime.timedelta(seconds=30),
    }
    return ModelRequest(**fields | changes)  # type: ignore[arg-type]


def completion(content: object, **changes: object) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    body = {"id": "c-1", "object": "chat.completion", "model": "deepseek-v4-flash", "choices": [choice], "usage": USAGE}
    return json.dumps(body | changes)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with serving() as provider:
        provider.answer = response(completion('{"total": 12.5}'))
        yield provider


@pytest.fixture
async def client(provider: FakeProvider) -> AsyncIterator[DeepSeekClient]:
    async with open_client(api_key="sk-1", base_url=provider.url, max_connections=4) as client:
        yield client


async def test_an_answer_is_read_with_all_that_was_counted(client: DeepSeekClient) -> None:
    assert await client.analyze(request()) == ModelAnswer(
        text='{"total": 12.5}',
        finish_reason="stop",
        model_version="deepseek-v4-flash",
        response_id="c-1",
        usage=Usage(input_tokens=300, output_tokens=25, thinking_tokens=15, cached_tokens=256),
    )


async def test_one_request_asks_for_json_without_thinking(client: DeepSeekClient, provider: FakeProvider) -> None:
    await client.analyze(request())

    (received,) = provider.received
    assert received.line == "POST /chat/completions HTTP/1.1"
    assert received.headers["authorization"] == "Bearer sk-1"
    assert received.headers["content-type"] == "application/json"
    assert received.json == {
        "model": "deepseek-v4-flash",
        "messages": [
            {
                "role": "user",
                "content": "Put the items in order.\n"
                "\n"
                '{"items":["b","ä"]}\n'
                'JSON schema: {"type":"object","properties":{"total":{"type":"number"}},"required":["total"]}',
            }
        ],
        "response_format": {"type": "json_object"},
        "thinking": {"type": "disabled"},
        "max_tokens": DEFAULT_MAX_TOKENS,
        "stream": False,
    }


async def test_what_the_ladder_changes_is_sent(client: DeepSeekClient, provider: FakeProvider) -> None:
    await client.analyze(request(generation=Generation(temperature=0.0, max_output_tokens=4096)))

    body = provider.received[0].json
    assert (body["temperature"], body["max_tokens"]) == (0.0, 4096)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_may_have_a_path(provider: FakeProvider, path: str) -> None:
    async with open_client(api_key="sk-1", base_url=provider.url + path, max_connections=1) as client:
        await client.analyze(request())

    assert provider.received[0].line == f"POST {path.rstrip('/')}/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_json": "{"},
        {"images": (ModelImage(b"x", "image/png"),)},
        {"prompt": "half of a pair: \ud800"},
        {"generation": Generation(temperature=float("nan"))},
    ],
)
async def test_what_cannot_be_said_is_not_sent(
    client: DeepSeekClient, provider: FakeProvider, changes: dict[str, object]
) -> None:
    with pytest.raises(UnsendableRequest):
        await client.analyze(request(**changes))

    assert provider.received == []


@pytest.mark.parametrize("content", [" ", "\n\n   \t", "", None, 5, ["{}"]])
async def test_blanks_in_the_place_of_json_are_no_text(
    client: DeepSeekClient, provider: FakeProvider, content: object
) -> None:
    provider.answer = response(completion(content))

    answer = await client.analyze(request())

    assert (answer.text, answer.finish_reason) == ("", "stop")


@pytest.mark.parametrize("kept_alive", ["\n\n\n", "\r\n\r\n", ": keep-alive\n\n: keep-alive\n\n", "   \n"])
async def test_what_keeps_the_connection_alive_is_no_part_of_the_answer(
    client: DeepSeekClient, provider: FakeProvider, kept_alive: str
) -> None:
    provider.answer = response(kept_alive + completion("{}"))

    assert (await client.analyze(request())).text == "{}"


async def test_a_connection_that_is_kept_alive_for_ever_ends_with_the_callers_deadline(
    client: DeepSeekClient, provider: FakeProvider
) -> None:
    provider.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.analyze(request())

    await provider.hung_up.wait()


@pytest.mark.parametrize("status", ["402 Payment Required", "429 Too Many Requests", "500 Oops", "302 Found"])
async def test_an_error_status_is_told_once_with_its_body_and_header(
    client: DeepSeekClient, provider: FakeProvider, status: str
) -> None:
    body = '{"error": {"message": "Insufficient Balance", "type": "unknown_error"}}'
    provider.answer = response(body, status=status, headers="Retry-After: 40\r\nLocation: /elsewhere\r\n")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert (caught.value.status, caught.value.body, caught.value.retry_after) == (int(status[:3]), body, "40")
    assert len(provider.received) == 1


async def test_an_error_page_without_end_is_cut(client: DeepSeekClient, provider: FakeProvider) -> None:
    provider.answer = response(b"x" * 1_000_000, status="500 Internal Server Error")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert len(caught.value.body) == http_calls.MAX_ERROR_BYTES


@pytest.mark.parametrize("body", ["<html>ok</html>", "[]", '"text"', "[" * 70_000, b"\xff\xff", '{"choices": '])
async def test_a_200_that_is_no_answer_is_unreadable_and_kept(
    client: DeepSeekClient, provider: FakeProvider, body: str | bytes
) -> None:
    provider.answer = response(body)

    with pytest.raises(UnreadableAnswer) as caught:
        await client.analyze(request())

    assert caught.value.body


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (http_calls.MAX_ANSWER_BYTES + 1),
        b'{"choices": [' + b"[]," * (http_calls.MAX_VALUES + 1) + b"[]]}",
    ],
)
async def test_an_answer_without_end_or_sense_is_not_read_to_its_end(
    client: DeepSeekClient, provider: FakeProvider, body: bytes
) -> None:
    provider.answer = response(body)

    with pytest.raises(UnreadableAnswer, match=r"larger than|more than") as caught:
        await client.analyze(request())

    assert len(caught.value.body) == http_calls.MAX_ERROR_BYTES


async def test_names_without_end_are_cut(client: DeepSeekClient, provider: FakeProvider) -> None:
    endless = "x" * 100_000
    provider.answer = response(completion("{}", id=endless, model=endless))

    answer = await client.analyze(request())

    assert (len(answer.response_id), len(answer.model_version)) == (256, 256)


@pytest.mark.parametrize("body", ["", "{}", '{"choices": []}', '{"choices": [{"message": 1}], "usage": [], "id": 7}'])
async def test_a_200_without_a_choice_is_an_empty_answer(
    client: DeepSeekClient, provider: FakeProvider, body: str
) -> None:
    provider.answer = response(body)

    answer = await client.analyze(request())

    assert (answer.text, answer.finish_reason) == ("", "")


@pytest.mark.parametrize("end", [reset, close])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\n\n{"])
async def test_a_connection_that_breaks_before_the_answer_is_whole_is_tried_once(
    client: DeepSeekClient, provider: FakeProvider, answer: bytes, end: Callable[[asyncio.StreamWriter], None]
) -> None:
    provider.answer = answer
    provider.then = end

    with pytest.raises(ConnectionBroken):
        await client.analyze(request())

    assert len(provider.received) == 1


async def test_a_provider_that_is_not_there_was_sent_nothing() -> None:
    # Port 9 of this machine: nobody listens.
    async with open_client(api_key="sk-1", base_url="http://127.0.0.1:9", max_connections=1) as client:
        with pytest.raises(NotConnected, match="cannot be reached"):
            await client.analyze(request())


async def test_a_cancelled_call_hangs_up_and_its_place_is_free_again(provider: FakeProvider) -> None:
    provider.before_answer = asyncio.Event()
    async with open_client(api_key="sk-1", base_url=provider.url, max_connections=1) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.analyze(request())
        await provider.hung_up.wait()

        provider.before_answer = None
        assert (await client.analyze(request())).text == '{"total": 12.5}'


def test_lines_that_keep_alive_without_end_are_skipped_in_time_linear_in_them() -> None:
    body = ":\n" * (http_calls.MAX_ANSWER_BYTES // 2)

    started = time.process_time()
    assert answers.read(body) == ModelAnswer(text="", finish_reason="", has_candidate=False)

    # A quadratic reader takes hours.
    assert time.process_time() - started < 30


@given(body=st.text() | st.binary().map(lambda raw: raw.decode(errors="replace")))
def test_no_body_makes_the_reader_stumble(body: str) -> None:
    try:
        answers.read(body)
    except UnreadableAnswer as unreadable:
        assert body.startswith(unreadable.body)  # noqa: PT017 - either end is right


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    choices=_JSON | st.lists(st.fixed_dictionaries({"message": _JSON | st.fixed_dictionaries({"content": _JSON})})),
    usage=_JSON | st.dictionaries(st.sampled_from(sorted(USAGE)), _JSON),
    name=_JSON,
)
def test_no_json_makes_the_reader_stumble(choices: object, usage: object, name: object) -> None:
    answer = answers.read(json.dumps({"choices": choices, "usage": usage, "id": name, "model": name}))

    assert isinstance(answer.text, str)
    assert answer.usage is None or min(answer.usage.input_tokens, answer.usage.output_tokens) >= 0


async def test_an_answer_is_read_beside_the_loop_of_its_caller() -> None:
    readers: list[str] = []

    def respond(_: httpx2.Request) -> httpx2.Response:
        readers.append(threading.current_thread().name)
        return httpx2.Response(200, text=completion("{}"))

    transport = httpx2.MockTransport(respond)
    async with (
        LoopThread(name="reader") as thread,
        httpx2.AsyncClient(base_url="http://p", transport=transport) as http,
    ):
        await DeepSeekClient(http, thread).analyze(request())

    assert readers == ["reader"]
