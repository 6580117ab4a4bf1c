"""The whole system on this machine: Postgres, schedulers, executors, and the emulator where there is no key."""

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devkit.certificates import CertificateFiles
from devkit.embedded_postgres import EmbeddedPostgres
from devkit.programs import Program, ProgramFailed, logged, program

_DATABASE = "visionjobs"
_EMULATOR_READY = "gemini emulator listening on "


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the system is run.

    Attributes:
        folder: Where data and logs go; it is emptied first.
        schedulers: How many are started, all on one database.
        executors: How many are started; with 0 no provider is either.
        capacity: Jobs at once of each.
        emulate: Use the emulator even if there is a key.
        deepseek: Executors speak to DeepSeek, too: to the emulator if it answers for Gemini, else to the real one if
            there is a key.
        emulator_arguments: For `visionjobs-gemini-emulator`.
        environment: For schedulers and executors, on top of what they need.
        database_url: A migrated database; without one the system has a Postgres of its own.
        postgres_settings: `name=value` settings of the server, if it has one of its own.
        tls: Every program speaks by TLS, and asks the others for a certificate.
        executor_key: What executors show to schedulers.
    """

    folder: Path
    schedulers: int = 1
    executors: int = 2
    capacity: int = 3
    emulate: bool = False
    deepseek: bool = True
    emulator_arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    database_url: str = ""
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    tls: "MutualTls | None" = None
    executor_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTls:
    """Certificates for localhost and 127.0.0.1, and the file of the authority that has signed both."""

    authority: Path
    scheduler: CertificateFiles
    executor: CertificateFiles

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SCHEDULER_TLS_CERTIFICATE_FILE": str(self.scheduler.certificate),
            "SCHEDULER_TLS_KEY_FILE": str(self.scheduler.key),
            "SCHEDULER_TLS_CLIENT_CA_FILE": str(self.authority),
            "EXECUTOR_TLS_CA_FILE": str(self.authority),
            "EXECUTOR_TLS_CERTIFICATE_FILE": str(self.executor.certificate),
            "EXECUTOR_TLS_KEY_FILE": str(self.executor.key),
        }


class Stack:
    """A running system.

    Attributes:
        postgres: The server, if it has one of its own.
        provider: Who answers, in words for people.
        emulator_url: Where the emulator is, if it answers; then every answer is made up.
        executors: `start_executor` adds to them; one that ended stays.
    """

    def __init__(
        self,
        options: Options,
        exits: contextlib.AsyncExitStack,
        postgres: EmbeddedPostgres | None,
    ) -> None:
        self.postgres = postgres
        self.database_url = postgres.url(_DATABASE) if postgres else options.database_url
        self.provider = ""
        self.emulator_url: str | None = None
        self.emulator: Program | None = None
        self.executors: list[Program] = []
        self._options = options
        self._exits = exits
        self._schedulers: dict[str, Program] = {}
        self._provider_environment: dict[str, str] = {}
        self._numbers = itertools.count(1)

    @property
    def schedulers(self) -> list[Program]:
        """Each with its gRPC address; `start_scheduler` adds to them."""
        return list(self._schedulers.values())

    @property
    def scheduler(self) -> Program | None:
        """The first one."""
        return self.schedulers[0] if self.schedulers else None

    @property
    def address(self) -> str:
        """The first scheduler's gRPC address."""
        return self.schedulers[0].address if self.schedulers else ""

    @property
    def programs(self) -> list[Program]:
        emulator = [self.emulator] if self.emulator else []
        return [*self.schedulers, *emulator, *self.executors]

    async def start_scheduler(
        self, *, grpc_address: str = "127.0.0.1:0", environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start one more scheduler, and wait until it is bound; at the address of one that ended it takes its place.

        Args:
            grpc_address: host:port; port 0 picks one.
            environment: For this one, on top of what all get.
        """
        scheduler = await self._start(
            "visionjobs-scheduler",
            {
                "SCHEDULER_DATABASE_URL": self.database_url,
                "SCHEDULER_GRPC_ADDRESS": grpc_address,
                "SCHEDULER_HTTP_ADDRESS": "127.0.0.1:0",
                **(environment or {}),
            },
            name="visionjobs-scheduler",
        )
        scheduler.address = await scheduler.ready(logged("scheduler_started", "grpc_address"))
        self._schedulers[scheduler.address] = scheduler
        return scheduler

    async def start_executor(self, *, environment: Mapping[str, str] | None = None) -> Program:
        """Start one more executor, which knows all schedulers that there are now.

        Args:
            environment: For this one, on top of what all get.
        """
        number = len(self.executors)
        executor = await self._start(
            "visionjobs-executor",
            self._provider_environment
            | {
                "EXECUTOR_SCHEDULER_ADDRESS": ",".join(self._rotated_addresses(number)),
                "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
                "EXECUTOR_SPOOL_DIR": str(self._options.folder / "spool"),
                "EXECUTOR_CAPACITY": str(self._options.capacity),
                **(environment or {}),
            },
            name=f"visionjobs-executor {number + 1}",
        )
        self.executors.append(executor)
        return executor

    async def choose_provider(self) -> None:
        """Use the real providers if there is a key for Gemini, else start the emulator, which answers for both."""
        keys = {name: os.environ[name] for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY") if os.environ.get(name)}
        if keys and not self._options.emulate:
            base_url = os.environ.get("GOOGLE_GEMINI_BASE_URL", "")
            self._provider_environment = {
                **keys,
                **({"GOOGLE_GEMINI_BASE_URL": base_url} if base_url else {}),
                **(_real_deepseek() if self._options.deepseek else {}),
            }
            self.provider = f"Gemini at {base_url}" if base_url else "the real Gemini (calls are paid)"
            return
        self.emulator = await self._start(
            "visionjobs-gemini-emulator", {}, "--port", "0", *self._options.emulator_arguments, name="emulator"
        )
        self.emulator_url = await self.emulator.ready(
            lambda line: line.removeprefix(_EMULATOR_READY).strip() if line.startswith(_EMULATOR_READY) else None
        )
        self._provider_environment = {"GEMINI_API_KEY": "emulator", "GOOGLE_GEMINI_BASE_URL": self.emulator_url}
        if self._options.deepseek:
            emulated = {"DEEPSEEK_API_KEY": "emulator", "EXECUTOR_DEEPSEEK_BASE_URL": self.emulator_url}
            self._provider_environment.update(emulated)
        self.provider = "the Gemini EMULATOR, which makes every answer up"

    def _rotated_addresses(self, number: int) -> list[str]:
        addresses = [scheduler.address for scheduler in self.schedulers]
        first = number % len(addresses)
        return addresses[first:] + addresses[:first]

    def _shared_environment(self) -> dict[str, str]:
        tls, key = self._options.tls, self._options.executor_key
        return {
            **(tls.environment if tls else {}),
            **({"EXECUTOR_API_KEY": key} if key else {}),
            **self._options.environment,
        }

    async def _start(self, command: str, environment: Mapping[str, str], *arguments: str, name: str) -> Program:
        log = self._options.folder / "logs" / f"{next(self._numbers):02}-{name.replace(' ', '-')}.log"
        return await self._exits.enter_async_context(
            program(
                command,
                *arguments,
                environment={**clean_environment(), **self._shared_environment(), **environment},
                log=log,
                name=name,
            )
        )


@contextlib.asynccontextmanager
async def running(options: Options) -> AsyncIterator[Stack]:
    """Run the system while the block runs. Everything has stopped when it is over.

    Raises:
        ProgramFailed: A program did not start.
        EmbeddedPostgresError: Postgres did not start.
    """
    shutil.rmtree(options.folder, ignore_errors=True)
    (options.folder / "logs").mkdir(parents=True)
    async with contextlib.AsyncExitStack() as exits:
        postgres = None if options.database_url else await _start_postgres(options, exits)
        stack = Stack(options, exits, postgres)
        await _start_together(stack, schedulers=options.schedulers, with_provider=options.executors > 0)
        for _ in range(options.executors):
            await stack.start_executor()
        yield stack


async def _start_postgres(options: Options, exits: contextlib.AsyncExitStack) -> EmbeddedPostgres:
    """Start a server with a migrated database."""
    postgres = EmbeddedPostgres(data_dir=options.folder / "postgres", settings=options.postgres_settings)
    await asyncio.to_thread(postgres.start)
    exits.push_async_callback(asyncio.to_thread, postgres.stop)
    await asyncio.to_thread(postgres.create_database, _DATABASE)
    await asyncio.to_thread(_migrate, postgres.url(_DATABASE))
    return postgres


async def _start_together(stack: Stack, *, schedulers: int, with_provider: bool) -> None:
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(schedulers):
                tasks.create_task(stack.start_scheduler())
            if with_provider:
                tasks.create_task(stack.choose_provider())
    except* ProgramFailed as failed:
        failure = failed.exceptions[0]
    # Outside: before Python 3.11.4 what `except*` raises comes in a group.
    if failure is not None:
        raise failure


def _real_deepseek() -> dict[str, str]:
    names = ("DEEPSEEK_API_KEY", "EXECUTOR_DEEPSEEK_BASE_URL")
    return {name: os.environ[name] for name in names if os.environ.get(name)} if os.environ.get(names[0]) else {}


def clean_environment() -> dict[str, str]:
    """Return this environment without what would change how our programs work."""
    foreign = ("SCHEDULER_", "EXECUTOR_", "VISIONJOBS_", "GEMINI_", "GOOGLE_", "DEEPSEEK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _migrate(database_url: str) -> None:
    migrated = subprocess.run(
        [Path(sys.executable).parent / "visionjobs-scheduler", "migrate"],
        env=clean_environment() | {"SCHEDULER_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if migrated.returncode:
        raise ProgramFailed(f"visionjobs-scheduler migrate failed: {migrated.stderr.strip()}")
