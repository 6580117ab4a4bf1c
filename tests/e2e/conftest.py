"""Real processes: a scheduler, executors and the emulator on an embedded Postgres."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest
from fleet_calls import Fleet, connected_to, fleet_of
from system_calls import SAMPLES, SCHEMA, StartStack

from devkit import stack
from devkit.emulator.settings import DEFAULT_MODELS
from visionjobs import Image, JobSpec
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc


@pytest.fixture(scope="session")
def start_stack(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Callable[[], AbstractAsyncContextManager[str]]
) -> StartStack:
    """Return what runs a whole system for a test of its own.

    Its database is on the server that tests share, unless it is to have a server of its own.
    """

    @contextlib.asynccontextmanager
    async def start(*, own_postgres: bool = False, **options: Any) -> AsyncIterator[stack.Stack]:
        chosen: dict[str, Any] = {"emulate": True, "emulator_arguments": ("--latency-ms", "0")} | options
        folder = tmp_path_factory.mktemp("stack") / "run"
        async with contextlib.AsyncExitStack() as exits:
            if own_postgres:
                chosen["postgres_settings"] = {"fsync": "off"}
            else:
                chosen["database_url"] = await exits.enter_async_context(migrated_database())
            yield await exits.enter_async_context(stack.running(stack.Options(folder=folder, **chosen)))

    return start


@pytest.fixture(scope="session")
async def system(start_stack: StartStack) -> AsyncIterator[stack.Stack]:
    """A system that tests share which break nothing."""
    async with start_stack() as running:
        yield running


@pytest.fixture
async def channel(system: stack.Stack) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(system.address) as opened:
        yield opened


@pytest.fixture
def jobs(channel: grpc.aio.Channel) -> Any:
    return vision_job_service_pb2_grpc.VisionJobServiceStub(channel)


@pytest.fixture(scope="session")
def photograph() -> bytes:
    return (SAMPLES / "coffee.png").read_bytes()


@pytest.fixture
def spec(photograph: bytes) -> job_pb2.JobSpec:
    return job_pb2.JobSpec(
        user_id="e2e",
        images=[job_pb2.Image(data=photograph)],
        prompt="What is this?",
        response_schema_json=SCHEMA,
        # Many tests ask for the same thing, and each wants its own answer.
        cache=job_pb2.CACHE_POLICY_OFF,
    )


@pytest.fixture(scope="session")
def request_for(photograph: bytes) -> Callable[..., JobSpec]:
    """Return what makes a job's spec of a prompt."""

    def make(prompt: str, **fields: Any) -> JobSpec:
        return JobSpec(user_id="e2e", images=[Image(data=photograph)], prompt=prompt, response_schema=SCHEMA, **fields)

    return make


@pytest.fixture(scope="session")
async def shared_fleet(start_stack: StartStack) -> AsyncIterator[Fleet]:
    """Two schedulers with an executor each, for tests that take a lane of their own and let every program live.

    The second one's executor serves all lanes, the first one's all but gemini-3.1-flash-lite.
    """
    environment = {"SCHEDULER_BREAKER_OPEN_SECONDS": "3"}
    async with start_stack(schedulers=2, executors=0, environment=environment) as running:
        await running.choose_provider()
        first, second = running.schedulers
        lanes = ",".join(f"gemini/{model}" for model in DEFAULT_MODELS if model != "gemini-3.1-flash-lite")
        await running.start_executor(environment={"EXECUTOR_SCHEDULER_ADDRESS": first.address, "EXECUTOR_LANES": lanes})
        await running.start_executor(environment={"EXECUTOR_SCHEDULER_ADDRESS": second.address})
        for executor in running.executors:
            await connected_to(executor)
        async with fleet_of(running) as made:
            yield made


@pytest.fixture
async def fleet(shared_fleet: Fleet) -> AsyncIterator[Fleet]:
    """The shared fleet, with an emulator that does nothing unusual after the test."""
    yield shared_fleet
    await shared_fleet.emulator.reset()
