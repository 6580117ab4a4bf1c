"""The unmodified google-genai client, which knows the emulator from its environment alone."""

import contextlib
from collections.abc import AsyncIterator

import httpx2
import pytest
from google import genai
from google.genai import types


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
