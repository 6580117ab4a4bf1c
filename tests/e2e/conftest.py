"""Real processes: a scheduler, executors and the emulator on an embedded Postgres."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest
from system_calls import SAMPLES, SCHEMA, StartStack

from devkit import stack
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc


@pytest.fixture(scope="session")
def start_stack(tmp_path_factory: pytest.TempPathFactory) -> StartStack:
    """Return what runs a whole system for a test of its own."""

    def start(**options: Any) -> AbstractAsyncContextManager[stack.Stack]:
        chosen: dict[str, Any] = {
            "emulate": True,
            "emulator_arguments": ("--latency-ms", "0"),
            "postgres_settings": {"fsync": "off"},
        } | options
        return stack.running(stack.Options(folder=tmp_path_factory.mktemp("stack") / "run", **chosen))

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
    )
