"""Calls generateContent, and nothing else, through one long-lived google-genai client.

The SDK blocks its event loop while it encodes a request (115 ms for an image of 5 MB), so it has a loop in a thread of
its own: heartbeats go on meanwhile. It builds and sends requests; errors and answers are taken from the HTTP response
itself. Its retries, continuations and function calls are off: every request may be paid, and whether there is another
one is the scheduler's decision.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator

import httpx2
from google import genai
from google.genai import types

from executor import bounded_bodies, http_calls
from executor.gemini import answer, request
from executor.loop_thread import LoopThread
from executor.ports import Begin, ModelAnswer, ModelRequest, at_once

# What the call under way in this task waits for; the SDK hands nothing of its own through to the HTTP client.
_begin: contextvars.ContextVar[Begin] = contextvars.ContextVar("begin")


class GeminiClient:
    """Implements ports.ModelClient."""

    def __init__(self, client: genai.Client, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread
        self._schemas = request.WireSchemas()

    async def analyze(self, model_request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        caller = asyncio.get_running_loop()

        async def begin_there() -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(begin), caller))

        return await self._thread.run(self._call(model_request, begin_there))

    async def _call(self, model_request: ModelRequest, begin: Begin) -> ModelAnswer:
        _begin.set(begin)
        config = request.config(model_request, self._schemas.of(model_request.schema_json))
        try:
            response = await self._client.aio.models.generate_content(
                model=model_request.model, contents=list(request.contents(model_request)), config=config
            )
        except httpx2.HTTPError as error:
            raise http_calls.model_error(error) from None
        raw = response.sdk_http_response
        return answer.read((raw.body if raw else None) or "")


async def _awaited(begin: Begin) -> None:
    await begin()


async def _begin_call(_: httpx2.Request) -> None:
    """Wait for leave: the SDK has put the request together, and nothing of it is sent."""
    await _begin.get()()


@contextlib.asynccontextmanager
async def open_client(
    *, api_key: str, api_version: str, base_url: str, max_connections: int
) -> AsyncIterator[GeminiClient]:
    """Open the client, for as many calls at once as there may be connections."""
    async with LoopThread(name="gemini") as thread:
        http = await thread.run(_http_client(max_connections))
        client = await thread.run(_sdk_client(http, api_key=api_key, api_version=api_version, base_url=base_url))
        try:
            yield GeminiClient(client, thread)
        finally:
            await thread.run(_close(client, http))


async def _http_client(max_connections: int) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        timeout=None,
        headers=bounded_bodies.HEADERS,
        event_hooks={
            "request": [_begin_call],
            # Before the SDK reads an error: it loses the body of what is not JSON, and stumbles over odd bytes.
            "response": [bounded_bodies.bound, http_calls.raise_for_status],
        },
    )


async def _sdk_client(http: httpx2.AsyncClient, *, api_key: str, api_version: str, base_url: str) -> genai.Client:
    return genai.Client(
        # Said outright: left alone, the SDK lets the environment choose another API.
        vertexai=False,
        api_key=api_key,
        http_options=types.HttpOptions(
            base_url=base_url,
            api_version=api_version,
            # Chosen here: left alone, the SDK takes whichever library happens to be installed.
            httpx_async_client=http,
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )


async def _close(client: genai.Client, http: httpx2.AsyncClient) -> None:
    await client.aio.aclose()
    client.close()
    await http.aclose()
