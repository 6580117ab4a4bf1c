from collections.abc import AsyncIterator

import pytest
from fake_scheduler import FakeScheduler, serve

from visionjobs import AsyncClient


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VISIONJOBS_ADDRESS", "VISIONJOBS_API_KEY", "VISIONJOBS_USER"):
        monkeypatch.delenv(name, raising=False)


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
