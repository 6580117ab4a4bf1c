"""The provider's edge over real HTTP, with the unmodified SDK."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fakes import IMAGE, assignment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from devkit.documents import receipt
from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings
from executor.gemini import GeminiClient
from executor.ports import CallFailed
from executor.work import Failed, Generation, Released, Throttled, Verdict
from runtime.clock import SystemClock

GOOD = {
    "candidates": [{"content": {"parts": [{"text": '{"n": 1}'}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 270,
        "candidatesTokenCount": 12,
        "thoughtsTokenCount": 18,
        "cachedContentTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 258}],
    },
    "modelVersion": "gemini-3.8-flash",
    "responseId": "r1",
}


class Provider:
    """Answers every call with `respond`, and remembers the requests."""

    def __init__(self, respond: Callable[[], Awaitable[Response]]) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._respond = respond

    async def handle(self, request: Request) -> Response:
        self.requests.append((request.url.path, dict(request.headers), await request.json()))
        return await self._respond()


def answering(
    body: object, status: int = 200, headers: dict[str, str] | None = None
) -> Callable[[], Awaitable[Response]]:
    async def respond() -> Response:
        if isinstance(body, str):
            return PlainTextResponse(body, status, headers)
        return JSONResponse(body, status, headers)

    return respond


@contextlib.asynccontextmanager
async def client_of(base_url: str, key: str = "k") -> AsyncIterator[GeminiClient]:
    async with GeminiClient(
        api_key=key, api_version="v1beta", base_url=base_url, max_connections=3, clock=SystemClock()
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def provider(respond: Callable[[], Awaitable[Response]]) -> AsyncIterator[tuple[Provider, GeminiClient]]:
    playing = Provider(respond)
    app = Starlette(routes=[Route("/{path:path}", playing.handle, methods=["POST"])])
    # What `serving` calls when it ends.
    app.state.close = lambda: None
    async with serving(app) as base_url, client_of(base_url) as client:
        yield playing, client


async def failure(respond: Callable[[], Awaitable[Response]], *, timeout_seconds: float = 30) -> tuple[CallFailed, int]:
    """Return how a call fails, and how many requests it made."""
    async with provider(respond) as (playing, client):
        with pytest.raises(CallFailed) as failed:
            await client.analyze(assignment(timeout_seconds=timeout_seconds), [("image/png", IMAGE)])
        return failed.value, len(playing.requests)


async def test_an_answer_comes_with_its_usage() -> None:
    async with provider(answering(GOOD)) as (_, client):
        answer = await client.analyze(assignment(), [("image/png", IMAGE)])

    assert answer.text == '{"n": 1}'
    assert (answer.model_version, answer.response_id, answer.finish_reason) == ("gemini-3.8-flash", "r1", "STOP")
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.thinking_tokens) == (270, 12, 18)
    assert (usage.cached_tokens, usage.image_tokens) == (5, 258)


async def test_the_request_carries_the_prompt_unchanged_and_the_image_as_it_is() -> None:
    async with provider(answering(GOOD)) as (playing, client):
        await client.analyze(assignment(), [("image/png", IMAGE)])
    [(path, headers, body)] = playing.requests

    assert path == "/v1beta/models/gemini-3.8-flash:generateContent"
    assert headers["x-goog-api-key"] == "k"
    image, text = body["contents"][0]["parts"]
    assert text == {"text": "What is this?"}
    assert base64.urlsafe_b64decode(image["inlineData"]["data"]) == IMAGE
    generation = body["generationConfig"]
    assert generation["responseMimeType"] == "application/json"
    assert generation["responseJsonSchema"]["required"] == ["n"]
    assert set(body) == {"contents", "generationConfig"}


async def test_options_reach_the_model() -> None:
    import dataclasses

    chosen = dataclasses.replace(
        assignment(),
        system_instruction="Be brief.",
        generation=Generation(
            temperature=0.5, max_output_tokens=99, media_resolution="LOW", thinking_level="HIGH", service_tier="FLEX"
        ),
    )
    async with provider(answering(GOOD)) as (playing, client):
        await client.analyze(chosen, [("image/png", IMAGE)])
    [(_, _, body)] = playing.requests

    generation = body["generationConfig"]
    assert (generation["temperature"], generation["maxOutputTokens"]) == (0.5, 99)
    assert generation["mediaResolution"] == "MEDIA_RESOLUTION_LOW"
    assert "HIGH" in json.dumps(generation["thinkingConfig"])
    assert body["serviceTier"] == "flex"
    assert body["systemInstruction"]["parts"][0]["text"] == "Be brief."


def error(code: int, message: str, status: str, *details: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


async def test_a_throttled_call_names_the_providers_time_and_is_not_repeated() -> None:
    failed, requests = await failure(answering(error(429, "quota", "RESOURCE_EXHAUSTED", RETRY_INFO), 429))

    assert isinstance(failed.verdict, Throttled)
    assert failed.verdict.retry_after_seconds == 26.5
    assert (failed.paid, requests) == (False, 1)


async def test_a_longer_retry_after_header_counts() -> None:
    body = error(429, "quota", "RESOURCE_EXHAUSTED", RETRY_INFO)
    failed, _ = await failure(answering(body, 429, {"Retry-After": "60"}))

    assert isinstance(failed.verdict, Throttled)
    assert failed.verdict.retry_after_seconds == 60


async def test_a_refused_key_is_the_executors_condition_and_the_job_goes_back_unspent() -> None:
    failed, _ = await failure(answering(error(400, "API key not valid.", "INVALID_ARGUMENT", BAD_KEY), 400))

    assert isinstance(failed.verdict, Released)
    assert (failed.refuses_key, failed.paid) == (True, False)


@pytest.mark.filterwarnings("ignore:BRAND_NEW is not a valid FinishReason")
@pytest.mark.parametrize(
    ("respond", "kind", "retryable", "paid"),
    [
        (answering(error(503, "overloaded", "UNAVAILABLE"), 503), "PROVIDER_ERROR", True, False),
        (answering("<html>Bad gateway</html>", 502), "PROVIDER_ERROR", True, False),
        (answering(error(400, "Unable to process input image.", "INVALID_ARGUMENT"), 400), "BAD_IMAGE", False, False),
        (answering(error(400, "no", "INVALID_ARGUMENT"), 400), "BAD_REQUEST", False, False),
        (answering(error(404, "models/x is not found", "NOT_FOUND"), 404), "BAD_REQUEST", False, False),
        (answering("no JSON"), "PROVIDER_ERROR", True, True),
        (answering({}), "INVALID_OUTPUT", True, True),
        (answering({"promptFeedback": {"blockReason": "SAFETY"}}), "BLOCKED", False, True),
        (answering({"candidates": [{"finishReason": "SAFETY"}]}), "BLOCKED", False, True),
        (answering({"candidates": [{"finishReason": "BRAND_NEW"}]}), "INVALID_OUTPUT", True, True),
        (
            answering({"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]}),
            "INVALID_OUTPUT",
            True,
            True,
        ),
        (
            answering({"candidates": [{"content": {"parts": [{"text": '{"n": 1}'}]}, "finishReason": "MAX_TOKENS"}]}),
            "INVALID_OUTPUT",
            True,
            True,
        ),
    ],
)
async def test_an_unusable_answer_says_what_it_means(
    respond: Callable[[], Awaitable[Response]], kind: str, retryable: bool, paid: bool
) -> None:
    failed, requests = await failure(respond)

    assert isinstance(failed.verdict, Failed)
    assert (failed.verdict.kind, failed.verdict.retryable, failed.paid) == (kind, retryable, paid)
    assert requests == 1


async def test_a_continuation_is_not_bought() -> None:
    partial = {
        "candidates": [
            {"content": {"parts": [{"text": "{"}]}, "finishReason": "CONTINUATION", "continuationToken": "dG9rZW4="}
        ]
    }
    failed, requests = await failure(answering(partial))

    assert isinstance(failed.verdict, Failed)
    assert requests == 1


async def test_a_call_that_is_not_answered_in_time_may_have_been_billed() -> None:
    hanging = asyncio.Event()

    async def respond() -> Response:
        await hanging.wait()
        return PlainTextResponse("late")

    failed, requests = await failure(respond, timeout_seconds=0.2)

    assert isinstance(failed.verdict, Failed)
    assert (failed.verdict.kind, failed.verdict.retryable, failed.paid, requests) == ("TIMEOUT", True, True, 1)


async def _verdict_against(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> CallFailed:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(CallFailed) as failed:
            await client.analyze(assignment(), [("image/png", IMAGE)])
    return failed.value


async def test_a_connection_that_breaks_after_the_request_may_have_been_billed() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    failed = await _verdict_against(hang_up)

    assert isinstance(failed.verdict, Failed)
    assert (failed.verdict.kind, failed.verdict.retryable, failed.paid) == ("PROVIDER_ERROR", True, True)


async def test_a_provider_that_is_not_there_billed_nothing() -> None:
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(CallFailed) as failed:
            await client.analyze(assignment(), [("image/png", IMAGE)])

    verdict: Verdict = failed.value.verdict
    assert isinstance(verdict, Failed)
    assert (verdict.kind, failed.value.paid) == ("PROVIDER_ERROR", False)


async def test_a_call_can_be_cancelled() -> None:
    started = asyncio.Event()

    async def respond() -> Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with provider(respond) as (_, client), asyncio.TaskGroup() as tasks:
        call = tasks.create_task(client.analyze(assignment(), [("image/png", IMAGE)]))
        await started.wait()
        call.cancel()

    assert call.cancelled()


async def test_the_emulator_answers_a_drawn_receipt_in_its_schema() -> None:
    import dataclasses

    document = receipt(1)
    work = dataclasses.replace(assignment(), prompt=document.prompt, schema_json=json.dumps(document.schema))
    async with (
        serving(create_app(EmulatorSettings(latency_seconds=0))) as base_url,
        client_of(base_url) as client,
    ):
        answer = await client.analyze(work, [("image/png", document.image_png)])

    from executor.validation import validated

    assert validated(answer.text, work.schema_json)
    assert "emulator" in answer.model_version
