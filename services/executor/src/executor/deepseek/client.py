"""Calls DeepSeek's chat completions, and nothing else, through one long-lived HTTP client.

While a request waits for its turn there, blank lines keep the connection alive, so a time limit of a single read would
never strike: the caller's deadline is the only one. Calls have a loop in a thread of their own: whatever the answer is
made of, heartbeats go on meanwhile.
"""

import contextlib
import json
from collections.abc import AsyncIterator

import httpx2

from executor import bounded_bodies, http_calls
from executor.deepseek import answer, request
from executor.loop_thread import LoopThread
from executor.ports import Begin, ModelAnswer, ModelRequest, UnsendableRequest, at_once

_PATH = "/chat/completions"
_CONNECT_SECONDS = 20.0


class DeepSeekClient:
    """Implements ports.ModelClient."""

    def __init__(self, http: httpx2.AsyncClient, thread: LoopThread) -> None:
        self._http = http
        self._thread = thread

    async def analyze(self, model_request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        content = _encoded(model_request)
        await begin()
        return await self._thread.run(self._call(content))

    async def _call(self, content: bytes) -> ModelAnswer:
        try:
            async with self._http.stream("POST", _PATH, content=content) as response:
                await http_calls.raise_for_status(response)
                body = await http_calls.answer_text(response)
        except httpx2.HTTPError as error:
            raise http_calls.model_error(error) from None
        return answer.read(body)


@contextlib.asynccontextmanager
async def open_client(*, api_key: str, base_url: str, max_connections: int) -> AsyncIterator[DeepSeekClient]:
    """Open the client, for as many calls at once as there may be connections."""
    async with LoopThread(name="deepseek") as thread:
        http = await thread.run(_http_client(api_key, base_url, max_connections))
        try:
            yield DeepSeekClient(http, thread)
        finally:
            await thread.run(http.aclose())


async def _http_client(api_key: str, base_url: str, max_connections: int) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=base_url,
        headers={
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            **bounded_bodies.HEADERS,
        },
        event_hooks={"response": [bounded_bodies.bound]},
        limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
    )


def _encoded(model_request: ModelRequest) -> bytes:
    try:
        return json.dumps(request.body(model_request), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        # Half of a surrogate pair, a temperature that is no number.
        raise UnsendableRequest(f"The request cannot be sent: {error}") from None
