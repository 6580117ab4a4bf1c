"""Speaking to an emulator's control paths, and being hit by its faults."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings

KEYS = {"x-goog-api-key": "test", "authorization": "Bearer test"}


@contextlib.asynccontextmanager
async def emulator(**settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an emulator of one's own that answers at once, and give a client with keys of both providers."""
    app = create_app(EmulatorSettings(**{"latency_seconds": 0.0} | settings))
    async with (
        serving(app) as url,
        httpx2.AsyncClient(base_url=url, headers=KEYS, timeout=20) as client,
    ):
        yield client


def hit_by(kind: str) -> dict[str, str]:
    """Return the header that asks for a fault."""
    return {"x-emulator-fault": kind}


async def script(http: httpx2.AsyncClient, kind: str, **fields: Any) -> None:
    added = await http.post("/emulator/faults", json={"kind": kind, **fields})
    assert added.status_code == 201, added.text


async def billed(http: httpx2.AsyncClient) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = (await http.get("/emulator/ledger")).json()["calls"]
    return calls


async def received(http: httpx2.AsyncClient, *, count: int = 0) -> list[dict[str, Any]]:
    """Return the calls that arrived, as soon as there are so many."""
    calls: list[dict[str, Any]] = (await http.get("/emulator/calls", params={"count": count})).json()["calls"]
    assert len(calls) >= count
    return calls
