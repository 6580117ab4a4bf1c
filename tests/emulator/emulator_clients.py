"""Callers: the unmodified google-genai client, which knows the emulator from its environment alone, and plain HTTP."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

GENERATE = "/v1beta/models/gemini-3.8-flash:generateContent"


@contextlib.asynccontextmanager
async def google_client(
    base_url: str, *, api_version: str = "v1beta", api_key: str = "test"
) -> AsyncIterator[genai.Client]:
    """Make a client over httpx2 that calls once, and close it after the block."""
    async with httpx2.AsyncClient(timeout=None) as transport:
        options = types.HttpOptions(
            api_version=api_version,
            httpx_async_client=transport,
            timeout=30_000,
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("GOOGLE_GEMINI_BASE_URL", base_url)
            client = genai.Client(api_key=api_key, http_options=options)
        try:
            yield client
        finally:
            client.close()
            await client.aio.aclose()


async def refusal(http: httpx2.AsyncClient, body: object, *, status: int = 400, url: str = GENERATE) -> dict[str, Any]:
    """Return the error of a call that must be refused with this status."""
    response = await http.post(url, json=body)
    error: dict[str, Any] = response.json()["error"]
    assert response.status_code == error["code"] == status, error
    return error
