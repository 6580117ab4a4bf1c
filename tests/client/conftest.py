import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import Cli
from fake_scheduler import FakeScheduler, serve
from typer.testing import CliRunner, Result

from visionjobs import AsyncClient
from visionjobs.cli.app import app


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VISIONJOBS_") or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)


@pytest.fixture
async def scheduler() -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    server = await serve(fake)
    yield fake
    await server.stop(None)


@pytest.fixture
async def client(scheduler: FakeScheduler) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(scheduler.address) as connected:
        yield connected


@pytest.fixture
def cli(scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("LOGNAME", "ada")

    async def run(*arguments: str, stdin: bytes = b"") -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["--address", scheduler.address, *arguments], input=stdin
        )

    return run


@pytest.fixture
def photo(tmp_path: Path) -> str:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    return str(tmp_path / "photo.jpg")


@pytest.fixture
def schema(tmp_path: Path) -> str:
    (tmp_path / "schema.json").write_text('{"type":  "object"}')
    return str(tmp_path / "schema.json")
