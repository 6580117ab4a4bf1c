"""Speaking to an emulator's control paths."""

from typing import Any

import httpx2


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
