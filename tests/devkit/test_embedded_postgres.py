import asyncio
import importlib.util
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import pytest

from devkit import embedded_postgres, postgres_binaries
from devkit.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

DEADLINE_SECONDS = 20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])


async def test_it_is_postgres_18_whatever_the_machine_has(postgres_server: EmbeddedPostgres) -> None:
    assert str(await ask(postgres_server.url(), "SELECT version()")).startswith("PostgreSQL 18.")


async def test_rows_survive_a_stop_and_a_crash_and_the_port_stays(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        url = server.url()
        await ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")

        for end in (server.stop, server.kill):
            await asyncio.to_thread(end)
            await asyncio.to_thread(server.start)

            assert server.url() == url
            assert await ask(url, "SELECT answer FROM kept") == 42


@on_linux
async def test_a_busy_backend_dies_with_a_killed_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        connection = await asyncpg.connect(server.url())
        backend = os.pidfd_open(connection.get_server_pid())
        busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP NULL; END LOOP; END $$"))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await ask(server.url(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'") == 0:
                await asyncio.sleep(0)

        await asyncio.to_thread(server.kill)

        assert select.select([backend], [], [], DEADLINE_SECONDS)[0], "the backend still runs"
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            await busy
        await asyncio.to_thread(server.start)
        assert await ask(server.url(), "SELECT 1") == 1
        os.close(backend)


@on_linux
async def test_the_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        server.stop()
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
        pid = os.pidfd_open(server_pid(tmp_path / "data"))

        assert not select.select([pid], [], [], 0.5)[0], "the server ended with the thread"
        assert await ask(server.url(), "SELECT 1") == 1
        os.close(pid)


async def test_settings_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data", settings={"max_connections": "17"}) as server:
        assert await ask(server.url(), "SHOW max_connections") == "17"


async def test_a_database_is_made_whatever_the_environment_says_of_other_servers(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PGSERVICE", "another")
        await asyncio.to_thread(postgres_server.create_database, "made_here")

    assert await ask(postgres_server.url("made_here"), "SELECT current_database()") == "made_here"


def test_a_database_that_exists_is_not_made_again(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedPostgresError, match='"postgres" already exists'):
        postgres_server.create_database("postgres")


def test_another_port_is_picked_if_the_first_was_taken_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = embedded_postgres._free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        picks = iter([taken])
        monkeypatch.setattr(embedded_postgres, "_free_port", lambda: next(picks, None) or pick())

        with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
            assert f":{taken}/" not in server.url()


def test_a_missing_wheel_is_said_and_no_other_postgres_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(EmbeddedPostgresError, match="embedded-postgres"):
        EmbeddedPostgres(data_dir=tmp_path / "data").start()


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("15\n")

    with pytest.raises(EmbeddedPostgresError, match="made by Postgres 15"):
        EmbeddedPostgres(data_dir=tmp_path).start()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(EmbeddedPostgresError, match="not Postgres's"):
        EmbeddedPostgres(data_dir=tmp_path).start()

    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_an_initdb_that_was_broken_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(_: postgres_binaries.PostgresBinaries, folder: Path) -> None:
        (folder / "PG_VERSION").write_text("18\n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(postgres_binaries.PostgresBinaries, "initdb", break_off)
        with pytest.raises(KeyboardInterrupt):
            EmbeddedPostgres(data_dir=tmp_path / "data").start()

    assert list(tmp_path.iterdir()) == []


def test_a_running_server_is_not_started_again(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedPostgresError, match="already running"):
        postgres_server.start()


def test_a_server_that_was_never_started_has_no_url_and_ends_quietly(tmp_path: Path) -> None:
    server = EmbeddedPostgres(data_dir=tmp_path / "data")

    server.stop()
    server.kill()

    with pytest.raises(EmbeddedPostgresError, match="not started"):
        server.create_database("second")


def test_a_wrong_setting_is_quoted_from_the_log(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data_dir=tmp_path / "data", settings={"no_such_setting": "1"}).start()


@on_linux
async def test_the_server_dies_with_its_parent_and_the_next_one_takes_over_at_once(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from devkit.embedded_postgres import EmbeddedPostgres\n"
        f"EmbeddedPostgres(data_dir=pathlib.Path({str(tmp_path / 'data')!r})).start()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        orphan = os.pidfd_open(server_pid(tmp_path / "data"))
        parent.kill()
        parent.wait()

    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        assert select.select([orphan], [], [], 0)[0], "two servers run on one folder"
        assert await ask(server.url(), "SELECT 1") == 1
    os.close(orphan)
