"""The connections: asyncpg's own pool, its four numbers, its timeouts, and its errors in our words."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import asyncpg

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable

# Waiting longer than this for a connection, a lock or an answer is the same as not having the database: callers get
# UNAVAILABLE within 5 s. No transaction may outlive the 10 s that the lanes' floors rely on.
_ACQUIRE_SECONDS = 2.0
_STATEMENT_MS = 2_000

SERVER_SETTINGS = {
    "application_name": "visionjobs-scheduler",
    "statement_timeout": str(_STATEMENT_MS),
    "lock_timeout": str(_STATEMENT_MS),
    "idle_in_transaction_session_timeout": str(_STATEMENT_MS),
    # Batched statements over unnest get a quadratic custom plan in their first five executions.
    "plan_cache_mode": "force_generic_plan",
    # The queue is in memory, and a plan that was made while it was empty must not read all of it when it is long.
    "random_page_cost": "1.1",
    "jit": "off",
    # Who waited for a lock must see what was done meanwhile, whatever the database's default is.
    "default_transaction_isolation": "read committed",
}

UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)


_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """The pool's numbers, in seconds, and what reads the password for each connection."""

    min_size: int = 2
    max_size: int = 10
    idle_seconds: float = 30.0
    connect_seconds: float = 2.0
    password: Callable[[], str] | None = None


class Database:
    """A pool of connections, and what all statements share. Some are kept for dispatch and completion, so that no flood of reads stalls them."""

    def __init__(self, pool: asyncpg.Pool, *, max_size: int, clock: Clock, result_lifetime: datetime.timedelta) -> None:
        self.result_lifetime = result_lifetime
        self._pool = pool
        self._unreserved = asyncio.Semaphore(max(1, max_size - 3))
        self._clock = clock
        self._offset = datetime.timedelta()

    def now(self) -> datetime.datetime:
        """Return the database's time, from this machine's clock and the difference last measured."""
        return self._clock.now() + self._offset

    async def measure_time(self) -> None:
        """Measure how far this machine's clock is from the database's; off by at most half a round trip."""
        async with self.reserved() as connection:
            before = self._clock.now()
            theirs: datetime.datetime = await connection.fetchval("SELECT clock_timestamp()")
            after = self._clock.now()
        self._offset = theirs - (before + (after - before) / 2)

    def log_pool(self) -> None:
        """Log how many connections there are, and how many of them idle."""
        _log.info("database_pool", connections=self._pool.get_size(), idle=self._pool.get_idle_size())

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection for a client's call.

        Raises:
            StoreUnavailable: The database is away, or so busy that it makes no difference.
        """
        try:
            async with asyncio.timeout(_ACQUIRE_SECONDS):
                await self._unreserved.acquire()
        except TimeoutError:
            raise StoreUnavailable("The database is busy.") from None
        try:
            async with self.reserved() as connection:
                yield connection
        finally:
            self._unreserved.release()

    @contextlib.asynccontextmanager
    async def reserved(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection for dispatch, completion or liveness. Raises as `connection`."""
        try:
            async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                yield connection
        except UNAVAILABLE as error:
            raise StoreUnavailable(f"The database is away: {error or type(error).__name__}") from error

    @contextlib.asynccontextmanager
    async def planning_anew(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection whose plans know the parameters. Raises as `connection`.

        A plan that does not know the limit, or how few jobs a user has, reads the whole history.
        """
        async with self.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            yield connection


class Queries:
    """The base of the store's parts: statements on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database


@contextlib.asynccontextmanager
async def open_database(
    url: str, *, settings: PoolSettings, clock: Clock, result_lifetime: datetime.timedelta
) -> AsyncIterator[Database]:
    """Open the pool; a result answers identical requests for its lifetime. Raises StoreUnavailable if it does not answer."""
    try:
        pool = await asyncpg.create_pool(
            url,
            password=settings.password,
            min_size=settings.min_size,
            max_size=settings.max_size,
            max_inactive_connection_lifetime=settings.idle_seconds,
            timeout=settings.connect_seconds,
            command_timeout=_STATEMENT_MS / 1000 + 1,
            server_settings=SERVER_SETTINGS,
        )
    except UNAVAILABLE as error:
        raise StoreUnavailable(f"The database is away: {error or type(error).__name__}") from error
    try:
        yield Database(pool, max_size=settings.max_size, clock=clock, result_lifetime=result_lifetime)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await pool.close()
        pool.terminate()
