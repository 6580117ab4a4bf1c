"""The database behind TLS and a password in a file, for each kind of connection."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from postgres_tls_front import TlsFront

from devkit.certificates import Authority
from devkit.embedded_postgres import EmbeddedPostgres
from runtime.clock import SystemClock
from runtime.secret_files import read_secret
from scheduler.errors import StoreUnavailable
from scheduler.postgres import migrate
from scheduler.postgres.database import PoolSettings
from scheduler.postgres.notifications import Notifications
from scheduler.postgres.store import PostgresStore, open_store

DATABASE = "guarded"
DOOR = "host all all 127.0.0.1/32 scram-sha-256\n"
FIRST, SECOND = "fürst", "second"


@pytest.fixture(scope="module")
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets") / "password"


@pytest.fixture(autouse=True)
def _written(password_file: Path) -> None:
    password_file.write_text(f"{FIRST}\n")


@pytest.fixture
def password(password_file: Path) -> Callable[[], str]:
    return lambda: read_secret(password_file)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that lets nobody in without the password."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    with EmbeddedPostgres(data_dir=data_dir, settings={"fsync": "off"}) as server:
        server.create_database(DATABASE)
        asyncio.run(_shut(server, data_dir / "pg_hba.conf"))
        yield server


async def _shut(server: EmbeddedPostgres, rules: Path) -> None:
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"ALTER ROLE postgres PASSWORD '{FIRST}'")
    rules.write_text(DOOR)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def front(server: EmbeddedPostgres, authority: Authority) -> AsyncIterator[TlsFront]:
    files = authority.issue("postgres", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with TlsFront(context, backend_port=urlsplit(server.url()).port or 0).serving() as front:
        yield front


@pytest.fixture
async def url(front: TlsFront, authority: Authority, password: Callable[[], str]) -> str:
    """A migrated database, to be reached by TLS and nothing else."""
    url = f"postgresql://postgres@127.0.0.1:{front.port}/{DATABASE}?sslmode=verify-full&sslrootcert={authority.file}"
    await asyncio.to_thread(migrate.upgrade, url, password=password)
    return url


@pytest.fixture
async def store(url: str, password: Callable[[], str]) -> AsyncIterator[PostgresStore]:
    async with open_store(url, clock=SystemClock(), pool=PoolSettings(password=password)) as store:
        yield store


async def test_the_pool_and_the_listener_come_by_tls_with_the_password(
    front: TlsFront, store: PostgresStore, url: str, password: Callable[[], str]
) -> None:
    of_the_pool = front.connections
    heard = asyncio.Event()
    listener = Notifications(url=url, password=password, database=store.database, sender="me", clock=SystemClock())
    running = asyncio.create_task(listener.run(heard.set))
    await heard.wait()
    with_the_listener = front.connections
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (of_the_pool, with_the_listener) == (2, 3)


async def test_a_password_that_is_replaced_holds_for_the_next_connection(
    store: PostgresStore, url: str, password_file: Path, password: Callable[[], str]
) -> None:
    pool = PoolSettings(password=password)
    async with store.database.reserved() as connection:
        await connection.execute(f"ALTER ROLE postgres PASSWORD '{SECOND}'")
        try:
            with pytest.raises(StoreUnavailable, match="password authentication failed"):
                async with open_store(url, clock=SystemClock(), pool=pool):
                    pass
            password_file.write_text(SECOND)
            async with open_store(url, clock=SystemClock(), pool=pool) as another:
                await another.ping()
        finally:
            await connection.execute(f"ALTER ROLE postgres PASSWORD '{FIRST}'")


async def test_a_database_of_another_authority_is_not_spoken_to(
    front: TlsFront, tmp_path: Path, password: Callable[[], str]
) -> None:
    other = Authority(tmp_path).file
    url = f"postgresql://postgres@127.0.0.1:{front.port}/{DATABASE}?sslmode=verify-full&sslrootcert={other}"

    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        async with open_store(url, clock=SystemClock(), pool=PoolSettings(password=password)):
            pass
    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(migrate.upgrade, url, password=password)


async def test_a_password_file_that_went_away_is_told_by_its_path(url: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    with pytest.raises(StoreUnavailable, match=str(missing)):
        async with open_store(url, clock=SystemClock(), pool=PoolSettings(password=lambda: read_secret(missing))):
            pass
