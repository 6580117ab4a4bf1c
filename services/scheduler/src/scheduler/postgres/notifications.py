"""Signals between schedulers by LISTEN and NOTIFY.

A NOTIFY takes a lock of the whole instance until its commit, so it goes out on its own, outside of every transaction
that does work, at most 20 times a second. Its payload is the sender, so that nobody wakes himself; equal ones fold.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.postgres.database import UNAVAILABLE, Database

_CHANNEL = "visionjobs"
_PAUSE_SECONDS = 0.05
_CHECK_SECONDS = 5.0
_REDIAL_SECONDS = 1.0
_CONNECT_SECONDS = 2.0

_log = logs.get_logger(__name__)


class Notifications:
    """Implements Signals. The listener has a connection of its own."""

    def __init__(
        self,
        *,
        url: str,
        password: Callable[[], str] | None = None,
        database: Database,
        sender: str,
        clock: Clock,
    ) -> None:
        self._url = url
        self._password = password
        self._database = database
        self._sender = sender
        self._clock = clock
        self._wanted = asyncio.Event()

    def announce(self) -> None:
        self._wanted.set()

    async def run(self, on_signal: Callable[[], None]) -> None:
        """Send and listen until cancelled. After each gap of listening `on_signal` is called, too."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._listen(on_signal))

    async def _send(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            # The others poll; a word that cannot be said now is not worth a second try.
            with contextlib.suppress(StoreUnavailable):
                async with self._database.reserved() as connection:
                    await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, self._sender)
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _listen(self, on_signal: Callable[[], None]) -> None:
        while True:
            try:
                async with self._listening(on_signal) as connection:
                    on_signal()
                    while True:
                        await self._clock.sleep(_CHECK_SECONDS)
                        # A connection whose other end has gone would be silent for ever.
                        async with asyncio.timeout(_CONNECT_SECONDS):
                            await connection.execute("SELECT 1")
            except UNAVAILABLE as error:
                _log.debug("listener_lost", error=str(error))
            await self._clock.sleep(_REDIAL_SECONDS)

    @contextlib.asynccontextmanager
    async def _listening(self, on_signal: Callable[[], None]) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._url, password=self._password, timeout=_CONNECT_SECONDS)

        def heard(_: Any, __: int, ___: str, sender: Any) -> None:
            if sender != self._sender:
                on_signal()

        try:
            await connection.add_listener(_CHANNEL, heard)
            yield connection
        finally:
            connection.terminate()
