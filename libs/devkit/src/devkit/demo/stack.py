"""The whole system on this machine: Postgres, scheduler, executors, and the emulator where there is no key."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from devkit.demo.programs import Program, ProgramFailed, logged, program
from devkit.embedded_postgres import EmbeddedPostgres

_EMULATOR_READY = "gemini emulator listening on "


@dataclass(frozen=True, slots=True)
class Stack:
    """A running system.

    Attributes:
        provider: Who answers, in words for people.
        emulated: Whether the answers are made up.
    """

    scheduler_address: str
    provider: str
    emulated: bool
    programs: tuple[Program, ...]


@contextlib.asynccontextmanager
async def running(folder: Path, *, executors: int, capacity: int = 3) -> AsyncIterator[Stack]:
    """Run the system while the block runs; data and logs go to the folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    async with contextlib.AsyncExitStack() as stack:
        postgres = EmbeddedPostgres(data_dir=folder / "postgres")
        await asyncio.to_thread(postgres.start)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        await asyncio.to_thread(postgres.create_database, "visionjobs")
        environment = _clean_environment() | {
            "SCHEDULER_DATABASE_URL": postgres.url("visionjobs"),
            "SCHEDULER_GRPC_ADDRESS": "127.0.0.1:0",
            "SCHEDULER_HTTP_ADDRESS": "127.0.0.1:0",
        }
        await asyncio.to_thread(_migrate, environment)
        scheduler = await stack.enter_async_context(
            program("visionjobs-scheduler", environment=environment, log=folder / "logs" / "scheduler.log")
        )
        address = await scheduler.ready(logged("scheduler_started", "grpc_address"))
        provider, provider_environment, emulator = await stack.enter_async_context(_provider(folder))
        workers = [
            await stack.enter_async_context(
                program(
                    "visionjobs-executor",
                    environment=_clean_environment()
                    | provider_environment
                    | {
                        "EXECUTOR_SCHEDULER_ADDRESS": address,
                        "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
                        "EXECUTOR_SPOOL_DIR": str(folder / "spool"),
                        "EXECUTOR_CAPACITY": str(capacity),
                    },
                    log=folder / "logs" / f"executor-{number}.log",
                    name=f"visionjobs-executor {number}",
                )
            )
            for number in range(1, executors + 1)
        ]
        yield Stack(
            scheduler_address=address,
            provider=provider,
            emulated=emulator is not None,
            programs=(scheduler, *([emulator] if emulator else []), *workers),
        )


@contextlib.asynccontextmanager
async def _provider(folder: Path) -> AsyncIterator[tuple[str, dict[str, str], Program | None]]:
    """Yield who answers, the executors' variables for it, and the emulator if it is that."""
    keys = {name: os.environ[name] for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY") if os.environ.get(name)}
    if keys:
        base_url = os.environ.get("GOOGLE_GEMINI_BASE_URL", "")
        yield (
            f"Gemini at {base_url}" if base_url else "the real Gemini (calls are paid)",
            keys | ({"GOOGLE_GEMINI_BASE_URL": base_url} if base_url else {}),
            None,
        )
        return
    async with program(
        "visionjobs-gemini-emulator",
        "--port",
        "0",
        environment=_clean_environment(),
        log=folder / "logs" / "emulator.log",
    ) as emulator:
        url = await emulator.ready(
            lambda line: line.removeprefix(_EMULATOR_READY).strip() if line.startswith(_EMULATOR_READY) else None
        )
        yield (
            "the EMULATOR: every answer is made up (set GEMINI_API_KEY to call the real Gemini)",
            {"GEMINI_API_KEY": "emulator", "GOOGLE_GEMINI_BASE_URL": url},
            emulator,
        )


def _migrate(environment: dict[str, str]) -> None:
    command = [Path(sys.executable).parent / "visionjobs-scheduler", "migrate"]
    migrated = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if migrated.returncode:
        raise ProgramFailed(f"visionjobs-scheduler migrate failed: {migrated.stderr.strip()}")


def _clean_environment() -> dict[str, str]:
    """Return this environment without what would change how the programs of the demo work."""
    foreign = ("SCHEDULER_", "EXECUTOR_", "VISIONJOBS_", "GEMINI_", "GOOGLE_", "DEEPSEEK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
