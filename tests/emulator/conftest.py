"""A running emulator, google's client in front of it, and plain HTTP beside it."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from emulator_clients import google_client
from emulator_pictures import drawn, encoded
from google import genai

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings


@pytest.fixture(scope="session")
async def base_url() -> AsyncIterator[str]:
    """An emulator that answers at once; tests share it."""
    async with serving(create_app(EmulatorSettings(latency_seconds=0))) as url:
        yield url


@pytest.fixture(scope="session")
async def client(base_url: str) -> AsyncIterator[genai.Client]:
    async with google_client(base_url) as made:
        yield made


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=base_url, headers={"x-goog-api-key": "test"}) as plain:
        yield plain


@pytest.fixture(scope="session")
def samples() -> Path:
    return Path(__file__).parents[2] / "samples"


@pytest.fixture
def body() -> dict[str, Any]:
    """A sound request body as plain JSON, to be spoilt by a test."""
    image = {"mimeType": "image/png", "data": base64.b64encode(encoded(drawn())).decode()}
    schema = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    return {
        "contents": [{"role": "user", "parts": [{"inlineData": image}, {"text": "What is this?"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema},
    }


@pytest.fixture
async def nothing_is_billed(http: httpx2.AsyncClient) -> AsyncIterator[None]:
    """Holds the shared emulator to it that a refused call costs nothing."""
    before = (await http.get("/emulator/ledger/count")).json()
    yield
    assert (await http.get("/emulator/ledger/count")).json() == before
