"""The whole store on one pool."""

import contextlib
from collections.abc import AsyncIterator

from runtime.clock import Clock
from scheduler.ports import StoreClock
from scheduler.postgres import partitions, revision
from scheduler.postgres.claims import Claims
from scheduler.postgres.database import Database, PoolSettings, open_database
from scheduler.postgres.executors import Executors
from scheduler.postgres.outcomes import Outcomes
from scheduler.postgres.reading import Reading
from scheduler.postgres.submissions import Submissions


class PostgresStore(Submissions, Claims, Outcomes, Reading, Executors):
    """Implements ports.Store; each base class one of its readers."""

    @property
    def time(self) -> StoreClock:
        """The database's time."""
        return self._database

    async def maintain(self) -> None:
        """Measure the time again, make the partitions of the coming days, log the pool. Worth a call each minute."""
        self._database.log_pool()
        await self._database.measure_time()
        async with self._database.reserved() as connection:
            await partitions.make_ahead(connection)

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers."""
        async with self._database.reserved() as connection:
            await connection.execute("SELECT 1")


@contextlib.asynccontextmanager
async def open_store(url: str, *, clock: Clock, pool: PoolSettings | None = None) -> AsyncIterator[PostgresStore]:
    """Open the store.

    Raises:
        StoreUnavailable: The database does not answer.
        WrongRevision: It has another revision than this code needs.
    """
    async with open_database(url, settings=pool or PoolSettings(), clock=clock) as database:
        async with database.reserved() as connection:
            await revision.check(connection)
        store = PostgresStore(database)
        await store.maintain()
        yield store


__all__ = ["Database", "PostgresStore", "open_store"]
