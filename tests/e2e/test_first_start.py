"""The first start of an installation, step by step as compose.yaml has it, on addresses that others could reach."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from system_calls import SAMPLES

from devkit.embedded_postgres import EmbeddedPostgres
from devkit.programs import Program, logged, program
from devkit.stack import clean_environment

BIN = Path(sys.executable).parent
EVERYWHERE = "0.0.0.0:0"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


async def run(command: str, *arguments: str, environment: Mapping[str, str]) -> Ran:
    """Run a command to its end."""

    def to_the_end() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command, *arguments],
            env=clean_environment() | dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    done = await asyncio.to_thread(to_the_end)
    return Ran(done.returncode, done.stdout, done.stderr)


class Installation:
    """Folders of secrets, and a database that wants the password of one of them."""

    def __init__(self, folder: Path) -> None:
        self.secrets = folder / "secrets"
        self._folder = folder
        self._exits = contextlib.AsyncExitStack()
        self.scheduler_environment: dict[str, str] = {}

    async def scheduler_command(self, *arguments: str) -> Ran:
        return await run("visionjobs-scheduler", *arguments, environment=self.scheduler_environment)

    async def make_keys(self) -> list[Ran]:
        """Do what the service `keys` does."""
        admin = ("--role", "admin", "--if-none", "--write-to", str(self.secrets / "admin" / "api-key"))
        executor = ("--role", "executor", "--again", "--write-to", str(self.secrets / "executor" / "api-key"))
        return [await self.scheduler_command("bootstrap-key", *options) for options in (admin, executor)]

    async def start_postgres(self) -> None:
        """Start a database that lets nobody in without the password."""
        server = EmbeddedPostgres(data_dir=self._folder / "postgres", settings={"fsync": "off"})
        await asyncio.to_thread(server.start)
        password = (self.secrets / "postgres" / "password").read_text().strip()
        connection = await asyncpg.connect(server.url())
        await connection.execute(f"CREATE ROLE visionjobs SUPERUSER LOGIN PASSWORD '{password}'")
        await connection.execute("CREATE DATABASE visionjobs OWNER visionjobs")
        await connection.close()
        await asyncio.to_thread(server.stop)

        rules = self._folder / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        closed = EmbeddedPostgres(data_dir=self._folder / "postgres", settings={"fsync": "off", "hba_file": str(rules)})
        await asyncio.to_thread(closed.start)
        self._exits.push_async_callback(asyncio.to_thread, closed.stop)
        own = self.secrets / "scheduler"
        self.scheduler_environment = {
            "SCHEDULER_DATABASE_URL": closed.url("visionjobs").replace("postgres@", "visionjobs@"),
            "SCHEDULER_DATABASE_PASSWORD_FILE": str(own / "database-password"),
            "SCHEDULER_GRPC_ADDRESS": EVERYWHERE,
            "SCHEDULER_HTTP_ADDRESS": EVERYWHERE,
            "SCHEDULER_TLS_CERTIFICATE_FILE": str(own / "tls.crt"),
            "SCHEDULER_TLS_KEY_FILE": str(own / "tls.key"),
        }

    async def start(self, command: str, environment: Mapping[str, str], *arguments: str) -> Program:
        return await self._exits.enter_async_context(
            program(
                command,
                *arguments,
                environment=clean_environment() | dict(environment),
                log=self._folder / f"{command}.log",
            )
        )

    async def close(self) -> None:
        await self._exits.aclose()


@dataclass(frozen=True)
class System:
    """An installation that has started.

    Attributes:
        port: Of the scheduler's gRPC.
    """

    installation: Installation
    port: int
    scheduler: Program
    executor: Program
    executor_environment: Mapping[str, str]

    def caller(self, key: str) -> dict[str, str]:
        """Return the environment of the command `visionjobs` with a key."""
        return {
            "VISIONJOBS_ADDRESS": f"127.0.0.1:{self.port}",
            "VISIONJOBS_TLS_CA_FILE": str(self.installation.secrets / "admin" / "ca.crt"),
            "VISIONJOBS_API_KEY": key,
        }

    @property
    def admin_key(self) -> str:
        return (self.installation.secrets / "admin" / "api-key").read_text().strip()

    async def visionjobs(self, *arguments: str, key: str) -> Ran:
        return await run("visionjobs", *arguments, environment=self.caller(key))


@pytest.fixture(scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installation"))
    await made.scheduler_command("init-secrets", str(made.secrets))
    await made.start_postgres()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(scope="module")
async def system(installation: Installation) -> System:
    migrated = await installation.scheduler_command("migrate")
    assert migrated.status == 0, migrated.err
    for made in await installation.make_keys():
        assert made.status == 0, made.err
    scheduler = await installation.start("visionjobs-scheduler", installation.scheduler_environment)
    port = (await scheduler.ready(logged("scheduler_started", "grpc_address"))).rpartition(":")[2]
    emulator = await installation.start("visionjobs-gemini-emulator", {}, "--port", "0", "--latency-ms", "0")
    marker = "gemini emulator listening on "
    url = await emulator.ready(lambda line: line.removeprefix(marker) if line.startswith(marker) else None)
    own = installation.secrets / "executor"
    executor_environment = {
        "EXECUTOR_SCHEDULER_ADDRESS": f"localhost:{port}",
        "EXECUTOR_HEALTH_ADDRESS": EVERYWHERE,
        "EXECUTOR_SPOOL_DIR": str(installation.secrets.parent / "spool"),
        "EXECUTOR_API_KEY_FILE": str(own / "api-key"),
        "EXECUTOR_TLS_CA_FILE": str(own / "ca.crt"),
        "EXECUTOR_TLS_CERTIFICATE_FILE": str(own / "tls.crt"),
        "EXECUTOR_TLS_KEY_FILE": str(own / "tls.key"),
        "GEMINI_API_KEY": "emulator",
        "GOOGLE_GEMINI_BASE_URL": url.strip(),
    }
    executor = await installation.start("visionjobs-executor", executor_environment)
    await executor.ready(logged("scheduler_connected", "address"))
    return System(installation, int(port), scheduler, executor, executor_environment)


def submission(*, user: str) -> list[str]:
    return [
        "submit",
        str(SAMPLES / "coffee.png"),
        "--prompt",
        "What is this?",
        "--schema",
        str(SAMPLES / "schema.json"),
        "--user",
        user,
        "--watch",
        "--json",
    ]


async def test_the_database_wants_the_password(system: System) -> None:
    url = system.installation.scheduler_environment["SCHEDULER_DATABASE_URL"]

    for password in (None, "visionjobs", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password=password)


async def test_a_key_that_the_admin_makes_gets_a_job_done(system: System) -> None:
    made = await system.visionjobs("keys", "create", "--client", "shop", "--role", "client", key=system.admin_key)
    assert made.status == 0, made.err

    done = await system.visionjobs(*submission(user="first"), key=made.out.splitlines()[-1])

    assert done.status == 0, done.err
    assert json.loads(done.out.splitlines()[-1])["state"] == "SUCCEEDED"


async def test_nobody_gets_in_without_a_key(system: System) -> None:
    refused = await system.visionjobs("list", key="")

    assert refused.status != 0
    assert "UNAUTHENTICATED" in refused.err


async def test_nobody_gets_in_without_tls(system: System) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_checks_need_the_programs_own_settings_alone(system: System) -> None:
    scheduler = system.installation.scheduler_environment | {"SCHEDULER_GRPC_ADDRESS": f"0.0.0.0:{system.port}"}
    health = await system.executor.ready(logged("executor_started", "health_address"))
    executor = dict(system.executor_environment) | {"EXECUTOR_HEALTH_ADDRESS": health}

    assert (await run("visionjobs-scheduler", "healthcheck", environment=scheduler)).status == 0
    assert (await run("visionjobs-executor", "healthcheck", environment=executor)).status == 0


async def test_a_second_start_changes_no_secret(system: System) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in system.installation.secrets.rglob("*") if path.is_file()}

    before = contents()
    secrets = await system.installation.scheduler_command("init-secrets", str(system.installation.secrets))
    keys = await system.installation.make_keys()

    assert contents() == before
    assert [ran.status for ran in (secrets, *keys)] == [0, 0, 0]
    assert secrets.out == "nothing was missing\n"


async def test_a_new_executors_key_is_taken_when_the_old_one_is_revoked(system: System) -> None:
    file = system.installation.secrets / "executor" / "api-key"
    old = file.read_text().split("_")[1]
    file.unlink()
    await system.installation.make_keys()

    revoked = await system.visionjobs("keys", "revoke", old, "--yes", key=system.admin_key)
    assert revoked.status == 0, revoked.err
    done = await system.visionjobs(*submission(user="rotated"), key=system.admin_key)

    assert done.status == 0, done.err
    assert json.loads(done.out.splitlines()[-1])["state"] == "SUCCEEDED"


@pytest.mark.parametrize("missing", ["SCHEDULER_TLS", "EXECUTOR_API_KEY_FILE"])
async def test_a_program_that_lacks_a_secret_opens_no_door(system: System, missing: str) -> None:
    command = "visionjobs-scheduler" if missing.startswith("SCHEDULER") else "visionjobs-executor"
    whole = system.installation.scheduler_environment | dict(system.executor_environment)
    environment = {name: value for name, value in whole.items() if not name.startswith(missing)}

    refused = await run(command, environment=environment)

    assert refused.status != 0
    assert missing in refused.err
    assert "INSECURE" in refused.err


async def test_no_secret_stands_in_a_log_or_a_process_list(system: System) -> None:
    secrets = [path.read_text().strip() for path in system.installation.secrets.glob("*/*-key")]
    secrets += [(system.installation.secrets / "postgres" / "password").read_text().strip()]
    texts = [path.read_text(errors="replace") for path in system.installation.secrets.parent.glob("*.log")]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            texts.append((process / "cmdline").read_text(errors="replace"))

    assert len(secrets) == 3
    assert not [secret[:12] for secret in secrets if any(secret in text for text in texts)]
