"""Stores whose time can be moved: in memory by its clock, on Postgres by making everything in it older."""

import asyncio
import contextlib
import datetime
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import asyncpg
from stores import FakeTime

from runtime.clock import SystemClock
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store
from scheduler.postgres.store import open_store
from scheduler.postgres.tables import metadata

Answer = TypeVar("Answer")

# The times that stores compare with the present.
_TIMES = {
    "alerts": ("end_time",),
    "commands": ("create_time",),
    "dedup": ("expire_time",),
    "executors": ("last_seen",),
    "idempotency_keys": ("create_time",),
    "lanes": ("breaker_open_until", "closed_until", "next_permit_time"),
    "queue": ("due_time", "expire_time", "rank_time", "stage_time"),
    "refusals": ("refuse_time", "until_time"),
    "submission_pace": ("next_time",),
}


async def empty(connection: asyncpg.Connection) -> None:
    """Take out every row. To copy a database takes up to a second, this takes milliseconds."""
    for table in metadata.tables:
        await connection.execute(f"DELETE FROM {table}")
    await connection.execute("ALTER SEQUENCE queue_seq RESTART")


async def make_older(connection: asyncpg.Connection, by: datetime.timedelta) -> None:
    """Let time pass: a database's time cannot be moved, but what is stored in it can be made older."""
    for table, columns in _TIMES.items():
        aged = ", ".join(f"{column} = {column} - $1::interval" for column in columns)
        await connection.execute(f"UPDATE {table} SET {aged}", by)


class World(Protocol):
    """Stores of one database, for callers that are not coroutines.

    Attributes:
        stores: Those of several schedulers.
        passed: How much older everything was made; times that are stored are that much earlier than they were.
    """

    stores: Sequence[Store]
    passed: datetime.timedelta

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer: ...

    def pass_by(self, by: datetime.timedelta) -> None: ...

    def check(self, waiting_or_running: int, leaders: set[str]) -> None:
        """Hold what only a look behind the store's face tells: the jobs in the queue, and who leads."""
        ...

    def close(self) -> None: ...


class MemoryWorld:
    """One store in memory: all schedulers share it."""

    def __init__(self, result_lifetime: datetime.timedelta) -> None:
        self._time = FakeTime()
        self.stores: Sequence[Store] = [MemoryStore(clock=self._time, result_lifetime=result_lifetime)]
        self.passed = datetime.timedelta()

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """Return what the call returns, and hold that it never gives up control: that is what makes it atomic."""
        try:
            call.send(None)
        except StopIteration as end:
            value: Answer = end.value
            return value
        call.close()
        raise AssertionError("The store waited in the middle of a call.")

    def pass_by(self, by: datetime.timedelta) -> None:
        self._time.pass_by(by.total_seconds())

    def check(self, waiting_or_running: int, leaders: set[str]) -> None:
        pass

    def close(self) -> None:
        pass


class PostgresWorld:
    """Two stores on one database, which is empty at first."""

    def __init__(self, url: str, result_lifetime: datetime.timedelta) -> None:
        # A loop of its own, which is not made the current one: the tests around have theirs.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._opened = contextlib.AsyncExitStack()
        self._connection, self.stores = self.run(self._open(url, result_lifetime))
        self.passed = datetime.timedelta()

    async def _open(self, url: str, result_lifetime: datetime.timedelta) -> tuple[asyncpg.Connection, Sequence[Store]]:
        connection = await asyncpg.connect(url)
        self._opened.push_async_callback(connection.close)
        await empty(connection)
        stores = [
            await self._opened.enter_async_context(
                open_store(url, clock=SystemClock(), result_lifetime=result_lifetime)
            )
            for _ in range(2)
        ]
        return connection, stores

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(call)

    def pass_by(self, by: datetime.timedelta) -> None:
        self.run(make_older(self._connection, by))
        self.passed += by

    def check(self, waiting_or_running: int, leaders: set[str]) -> None:
        assert self.run(self._connection.fetchval("SELECT count(*) FROM queue")) == waiting_or_running
        rows = self.run(self._connection.fetch("SELECT leader FROM dedup WHERE leader IS NOT NULL"))
        assert {str(row["leader"]) for row in rows} == leaders

    def close(self) -> None:
        self.run(self._opened.aclose())
        self._runner.close()
