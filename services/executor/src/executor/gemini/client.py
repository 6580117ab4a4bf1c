"""Calls generateContent, and nothing else, through one long-lived google-genai client.

The SDK blocks its event loop while it encodes a request (115 ms for an image of 5 MB), so it has a loop in a thread of
its own: heartbeats go on meanwhile. It builds and sends requests; errors and answers are taken from the HTTP response
itself. Its retries, continuations and function calls are off: every request may be paid, and whether there is another
one is the scheduler's decision.
"""

import contextlib
from collections.abc import AsyncIterator

import httpx2
from google import genai
from google.genai import types

from executor.gemini import answer, request
from executor.gemini.loop_thread import LoopThread
from executor.ports import ConnectionBroken, ModelAnswer, ModelRequest, NotConnected, ProviderRefused

_MAX_ERROR_BYTES = 64 * 1024

# The request was not sent: there was no connection, or none was free.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


class GeminiClient:
    """Implements ports.ModelClient."""

    def __init__(self, client: genai.Client, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread
        self._schemas = request.WireSchemas()

    async def analyze(self, model_request: ModelRequest) -> ModelAnswer:
        return await self._thread.run(self._call(model_request))

    async def _call(self, model_request: ModelRequest) -> ModelAnswer:
        config = request.config(model_request, self._schemas.of(model_request.schema_json))
        try:
            response = await self._client.aio.models.generate_content(
                model=model_request.model, contents=list(request.contents(model_request)), config=config
            )
        except _NOT_SENT as error:
            raise NotConnected(_message("cannot be reached", error)) from None
        except httpx2.HTTPError as error:
            raise ConnectionBroken(_message("broke the connection", error)) from None
        raw = response.sdk_http_response
        return answer.read((raw.body if raw else None) or "")


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
        event_hooks={"response": [_raise_for_status]},
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


async def _raise_for_status(response: httpx2.Response) -> None:
    """Raise before the SDK reads an error: it loses the body of what is not JSON, and stumbles over odd bytes."""
    if response.status_code == httpx2.codes.OK:
        return
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= _MAX_ERROR_BYTES:
                break
    except httpx2.HTTPError:
        # The status is an answer, also where its body never came.
        body += b" [cut off]"
    raise ProviderRefused(
        status=response.status_code,
        body=body[:_MAX_ERROR_BYTES].decode(errors="replace"),
        retry_after=response.headers.get("retry-after"),
    )


def _message(what: str, error: Exception) -> str:
    detail = str(error)[:200]
    return f"The provider {what}: {type(error).__name__}{': ' + detail if detail else ''}."
