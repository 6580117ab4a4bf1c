"""The whole store on one pool."""

import contextlib
import datetime
from collections.abc import AsyncIterator

from runtime.clock import Clock
from scheduler.ports import StoreClock
from scheduler.postgres import alerts, partitions, refusals, revision
from scheduler.postgres.alerts import Alerts
from scheduler.postgres.claims import Claims
from scheduler.postgres.collecting import Collecting
from scheduler.postgres.database import Database, PoolSettings, open_database
from scheduler.postgres.executors import Executors
from scheduler.postgres.images import ImageKeeping
from scheduler.postgres.keys import Keys
from scheduler.postgres.lanes import Lanes
from scheduler.postgres.outcomes import Outcomes
from scheduler.postgres.purging import Purging
from scheduler.postgres.reading import Reading
from scheduler.postgres.refusals import Refusals
from scheduler.postgres.submissions import Submissions
from scheduler.postgres.usage import UsageSums

# In small bites, for nobody waits for it; but in so many that a busy minute's rows are gone in a minute. What is locked is
# about to be used again.
_BITE = 10_000
_MOST_BITES = 50
_DROP_OLD = (
    """DELETE FROM commands WHERE id = ANY (ARRAY(
        SELECT id FROM commands WHERE create_time < now() - interval '1 minute' LIMIT $1 FOR UPDATE SKIP LOCKED))""",
    """DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys WHERE create_time < now() - interval '25 hours' LIMIT $1
        FOR UPDATE SKIP LOCKED))""",
    """DELETE FROM dedup WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM dedup WHERE expire_time < now() AND leader IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED))""",
    refusals.DROP_OLD,
    alerts.DROP_OLD,
)


class PostgresStore(
    Submissions, Claims, Outcomes, Reading, Executors, Lanes, Keys, Purging, Collecting, UsageSums, Refusals, Alerts
):
    """Implements ports.Store; each base class one of its readers."""

    def __init__(self, database: Database, *, images: ImageKeeping | None = None) -> None:
        super().__init__(database)
        self._keep_images(images or ImageKeeping())

    @property
    def database(self) -> Database:
        """What it works on."""
        return self._database

    @property
    def time(self) -> StoreClock:
        """The database's time."""
        return self._database

    async def maintain(self) -> None:
        """Measure the time again, make the partitions of the coming days, log the pool, drop what nobody asks for."""
        self._database.log_pool()
        await self._database.measure_time()
        async with self._database.reserved() as connection:
            await partitions.make_ahead(connection)
            for statement in _DROP_OLD:
                for _ in range(_MOST_BITES):
                    if await connection.execute(statement, _BITE) != f"DELETE {_BITE}":
                        break

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers."""
        async with self._database.reserved() as connection:
            await connection.execute("SELECT 1")


@contextlib.asynccontextmanager
async def open_store(
    url: str,
    *,
    clock: Clock,
    pool: PoolSettings | None = None,
    result_lifetime: datetime.timedelta = datetime.timedelta(hours=1),
    images: ImageKeeping | None = None,
) -> AsyncIterator[PostgresStore]:
    """Open the store; a result answers identical requests for its lifetime.

    Raises:
        StoreUnavailable: The database does not answer.
        WrongRevision: It has another revision than this code needs.
        ImageStoreUnusable: Images cannot be stored where they should be.
    """
    async with open_database(
        url, settings=pool or PoolSettings(), clock=clock, result_lifetime=result_lifetime
    ) as database:
        async with database.reserved() as connection:
            await revision.check(connection)
        store = PostgresStore(database, images=images)
        await store.maintain()
        await store.try_objects()
        yield store


__all__ = ["Database", "PostgresStore", "open_store"]
