"""Wires `bootstrap-key`: the only part of its command that knows a database."""

import asyncio
from pathlib import Path

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from scheduler import private_files
from scheduler.first_key import FirstKey, Wanted
from scheduler.postgres.database import PoolSettings
from scheduler.postgres.store import open_store
from scheduler.settings import SchedulerSettings


def make(settings: SchedulerSettings, wanted: Wanted, file: Path | None) -> str:
    """Make a key and return what to tell: the key itself only if it goes to no file. Blocks.

    Raises:
        KeyExists: One of the role works.
        InvalidRequest: The client's name is none.
        StoreUnavailable: The database does not answer.
        WrongRevision: It has another revision.
        OSError: The file cannot be read or written.
    """
    if file is None:
        return asyncio.run(_make(settings, wanted))
    with private_files.locked(file.parent):
        return asyncio.run(_make(settings, wanted, file))


async def _make(settings: SchedulerSettings, wanted: Wanted, file: Path | None = None) -> str:
    pool = PoolSettings(
        min_size=1, connect_seconds=settings.database_connect_seconds, password=settings.database_password
    )
    async with open_store(settings.database_url.get_secret_value(), clock=SystemClock(), pool=pool) as store:
        first = FirstKey(store=store, time=store.time, randomness=SystemRandomness(), wanted=wanted)
        if file is None:
            return await first.make()
        key = await first.write_to(file)
    return f"the key in {file} works" if key is None else f"wrote the key {key.key_id} to {file}"
