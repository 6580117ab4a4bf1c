import asyncio
import base64
import datetime
import gzip
import json
import threading
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from executor_world import SCHEMA
from fake_provider import FakeProvider, answered, close, reset, response, serving

from executor.gemini.client import GeminiClient, open_client
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

# Bytes that differ between the two base64 alphabets.
IMAGE = b"\xfb\xff\xfe not a real image \xff"


def request(**changes: object) -> ModelRequest:
    fields: dict[str, object] = {
        "provider": "gemini",
        "model": "gemini-3.8-flash",
        "prompt": "  Read the receipt.\n",
        "system_instruction": "",
        "images": (ModelImage(IMAGE, "image/png"),),
        "schema_json": SCHEMA,
        "generation": Generation(),
        "timeout": datetime.timedelta(seconds=29.5),
    }
    return ModelRequest(**fields | changes)  # type: ignore[arg-type]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def client(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GeminiClient]:
    # What a machine's environment says of other Google products must not matter.
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_API_KEY", "another")
    async with open_client(api_key="k-1", api_version="v1beta", base_url=provider.url, max_connections=4) as client:
        yield client


async def test_an_answer_is_read_with_all_that_was_counted(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = answered('{"total": 12.5}')

    assert await client.analyze(request()) == ModelAnswer(
        text='{"total": 12.5}',
        finish_reason="STOP",
        model_version="gemini-fake",
        response_id="r-1",
        usage=Usage(input_tokens=270, output_tokens=12, thinking_tokens=18, cached_tokens=5, image_tokens=258),
    )


async def test_exactly_one_request_goes_out_with_prompt_and_image_unchanged(
    client: GeminiClient, provider: FakeProvider
) -> None:
    await client.analyze(request())

    (received,) = provider.received
    assert received.line == "POST /v1beta/models/gemini-3.8-flash:generateContent HTTP/1.1"
    assert received.headers["x-goog-api-key"] == "k-1"
    assert received.headers["x-server-timeout"] == "30"
    (content,) = received.json["contents"]
    image, text = content["parts"]
    assert base64.urlsafe_b64decode(image["inlineData"]["data"]) == IMAGE
    assert image["inlineData"]["mime_type"] == "image/png"
    assert text == {"text": "  Read the receipt.\n"}
    assert "systemInstruction" not in received.json
    assert received.json["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {**json.loads(SCHEMA), "propertyOrdering": ["total"]},
    }


async def test_every_generation_option_is_sent(client: GeminiClient, provider: FakeProvider) -> None:
    generation = Generation(
        temperature=0.0,
        max_output_tokens=2048,
        media_resolution="HIGH",
        thinking_level="LOW",
        service_tier="FLEX",
    )
    await client.analyze(request(generation=generation, system_instruction="Be exact."))

    body = provider.received[0].json
    config = body["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"]) == (0.0, 2048)
    assert config["mediaResolution"] == "MEDIA_RESOLUTION_HIGH"
    assert list(config["thinkingConfig"].values()) == ["LOW"]
    assert body["serviceTier"] == "flex"
    assert body["systemInstruction"]["parts"] == [{"text": "Be exact."}]


async def test_the_highest_resolution_is_asked_for_each_image(client: GeminiClient, provider: FakeProvider) -> None:
    await client.analyze(request(generation=Generation(media_resolution="ULTRA_HIGH")))

    body = provider.received[0].json
    assert body["contents"][0]["parts"][0]["mediaResolution"] == {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}
    assert "mediaResolution" not in body["generationConfig"]


@pytest.mark.parametrize("schema", ["{", '{"$ref": "#/nowhere"}'])
async def test_a_schema_that_the_provider_cannot_be_told_is_not_sent(
    client: GeminiClient, provider: FakeProvider, schema: str
) -> None:
    with pytest.raises(UnsendableRequest):
        await client.analyze(request(schema_json=schema))

    assert provider.received == []


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "400 Bad Request", "302 Found"])
async def test_an_error_status_is_told_once_with_its_body_and_header(
    client: GeminiClient, provider: FakeProvider, status: str
) -> None:
    body = '{"error": {"details": [{"retryDelay": "26s"}]}}'
    provider.answer = response(body, status=status, headers="Retry-After: 40\r\n")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert (caught.value.status, caught.value.body, caught.value.retry_after) == (int(status[:3]), body, "40")
    assert len(provider.received) == 1


async def test_an_error_page_in_odd_bytes_is_an_error_status_too(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = response(b"\xff\xfe<html>", status="502 Bad Gateway")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert caught.value.status == 502
    assert "<html>" in caught.value.body


async def test_an_error_whose_body_never_comes_is_an_error_status_all_the_same(
    client: GeminiClient, provider: FakeProvider
) -> None:
    provider.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n\r\n{"
    provider.then = close

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert caught.value.status == 503


async def test_an_error_page_without_end_is_cut(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = response(b"x" * 1_000_000, status="500 Internal Server Error")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert len(caught.value.body) == 64 * 1024


@pytest.mark.parametrize("body", ["<html>ok</html>", "[]", '"text"', "[" * 100_000, b"\xff\xff", '{"candidates": '])
async def test_a_200_that_is_no_answer_is_unreadable_and_kept(
    client: GeminiClient, provider: FakeProvider, body: str | bytes
) -> None:
    provider.answer = response(body)

    with pytest.raises(UnreadableAnswer) as caught:
        await client.analyze(request())

    assert caught.value.body


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        '{"candidates": []}',
        '{"candidates": "none"}',
        '{"candidates": [{"content": {"role": "model"}}], "usageMetadata": []}',
        '{"candidates": [{"content": {"parts": [{"text": 5}, 6]}}], "modelVersion": 7}',
        '{"usageMetadata": {"promptTokenCount": -1, "promptTokensDetails": [null]}}',
    ],
)
async def test_a_200_without_text_is_an_empty_answer(client: GeminiClient, provider: FakeProvider, body: str) -> None:
    provider.answer = response(body)

    answer = await client.analyze(request())

    assert (answer.text, answer.finish_reason) == ("", "")


@pytest.mark.parametrize(
    ("body", "has_candidate"),
    [
        ("", False),
        ('{"candidates": []}', False),
        ('{"candidates": [7]}', False),
        ('{"candidates": [{"content": {"role": "model"}}]}', True),
    ],
)
async def test_an_answer_that_says_nothing_is_told_from_no_answer(
    client: GeminiClient, provider: FakeProvider, body: str, has_candidate: bool
) -> None:
    provider.answer = response(body)

    assert (await client.analyze(request())).has_candidate == has_candidate


async def test_the_tier_that_was_served_is_told(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = answered("{}", usageMetadata={"serviceTier": "flex"})

    assert (await client.analyze(request())).service_tier == "FLEX"


async def test_nothing_is_asked_to_come_compressed(client: GeminiClient, provider: FakeProvider) -> None:
    await client.analyze(request())

    assert provider.received[0].headers["accept-encoding"] == "identity"


ANSWER = json.dumps({"candidates": [{"content": {"parts": [{"text": "Zoë"}]}, "finishReason": "STOP"}]})


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(ANSWER.encode())), ("deflate", zlib.compress(ANSWER.encode())), ("identity", ANSWER)],
)
async def test_what_comes_compressed_all_the_same_is_read(
    client: GeminiClient, provider: FakeProvider, encoding: str, body: bytes | str
) -> None:
    provider.answer = response(body, headers=f"Content-Encoding: {encoding}\r\n")

    assert (await client.analyze(request())).text == "Zoë"


async def test_an_error_that_comes_compressed_is_read(client: GeminiClient, provider: FakeProvider) -> None:
    body = gzip.compress(b"overloaded")
    provider.answer = response(body, status="503 Service Unavailable", headers="Content-Encoding: gzip\r\n")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert caught.value.body == "overloaded"


HUGE = b"x" * 50_000_000


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (HUGE[:3_000_000], "identity", "larger than 2 MiB"),
        (gzip.compress(HUGE), "gzip", "larger than 2 MiB"),
        (zlib.compress(HUGE), "deflate", "larger than 2 MiB"),
        (gzip.compress(ANSWER.encode())[:-9], "gzip", "middle of its compressed"),
        (b"no gzip at all", "gzip", "cannot be decompressed"),
        (b"x", "zstd", "nobody asked"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "nobody asked"),
    ],
)
async def test_a_body_without_end_or_sense_is_not_read_on(
    client: GeminiClient, provider: FakeProvider, body: bytes, encoding: str, message: str
) -> None:
    provider.answer = response(body, headers=f"Content-Encoding: {encoding}\r\n")

    with pytest.raises(UnreadableAnswer, match=message) as caught:
        await client.analyze(request())

    assert len(caught.value.body) <= 64 * 1024


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_an_error_is_an_error_whatever_its_body_is_compressed_with(
    client: GeminiClient, provider: FakeProvider, encoding: str
) -> None:
    body = gzip.compress(HUGE)
    provider.answer = response(body, status="502 Bad Gateway", headers=f"Content-Encoding: {encoding}\r\n")

    with pytest.raises(ProviderRefused) as caught:
        await client.analyze(request())

    assert len(caught.value.body) <= 64 * 1024


async def test_a_codec_that_the_answer_names_is_not_used(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = answered("+AOs-").replace(b"application/json", b"text/plain; charset=utf-7")

    assert (await client.analyze(request())).text == "+AOs-"


async def test_headers_without_end_break_the_connection(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = response(ANSWER, headers="".join(f"x-{number}: {'x' * 1_000}\r\n" for number in range(1_000)))

    with pytest.raises(ConnectionBroken):
        await client.analyze(request())


async def test_a_truncated_answer_and_an_unknown_ending_are_told(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = answered("", candidates=[{"finishReason": "BRAND_NEW", "content": {"parts": [{"text": "{"}]}}])

    answer = await client.analyze(request())

    assert (answer.text, answer.finish_reason) == ("{", "BRAND_NEW")


async def test_a_blocked_prompt_is_told(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = response('{"promptFeedback": {"blockReason": "SAFETY"}}')

    assert (await client.analyze(request())).block_reason == "SAFETY"


async def test_a_continuation_is_not_followed(client: GeminiClient, provider: FakeProvider) -> None:
    provider.answer = answered("", candidates=[{"finishReason": "CONTINUATION", "continuationToken": "t"}])

    assert (await client.analyze(request())).finish_reason == "CONTINUATION"
    assert len(provider.received) == 1


@pytest.mark.parametrize("end", [reset, close])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_a_connection_that_breaks_before_the_answer_is_whole_is_tried_once(
    client: GeminiClient, provider: FakeProvider, answer: bytes, end: Callable[[asyncio.StreamWriter], None]
) -> None:
    provider.answer = answer
    provider.then = end

    with pytest.raises(ConnectionBroken):
        await client.analyze(request())

    assert len(provider.received) == 1


async def test_a_provider_that_is_not_there_was_sent_nothing() -> None:
    # Port 9 of this machine: nobody listens.
    async with open_client(api_key="k", api_version="v1", base_url="http://127.0.0.1:9", max_connections=1) as client:
        with pytest.raises(NotConnected, match="cannot be reached"):
            await client.analyze(request())


async def test_a_cancelled_call_hangs_up(client: GeminiClient, provider: FakeProvider) -> None:
    provider.before_answer = asyncio.Event()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.analyze(request())

    await provider.hung_up.wait()


async def test_the_event_loop_goes_on_while_a_large_image_is_encoded(
    client: GeminiClient, provider: FakeProvider
) -> None:
    threads: set[int] = set()
    encode = base64.urlsafe_b64encode

    def spying(data: bytes) -> bytes:
        threads.add(threading.get_ident())
        return encode(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base64, "urlsafe_b64encode", spying)
        await client.analyze(request(images=(ModelImage(bytes(2_000_000), "image/png"),)))

    assert threads
    assert threading.get_ident() not in threads
    assert len(provider.received[0].body) > 2_000_000


async def test_calls_run_at_once_and_the_connections_are_used_again(
    client: GeminiClient, provider: FakeProvider
) -> None:
    for _ in range(3):
        await asyncio.gather(*(client.analyze(request()) for _ in range(8)))

    assert len(provider.received) == 24
