"""Real processes: a scheduler, executors and the emulator on an embedded Postgres."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from devkit import stack
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc

SAMPLES = Path(__file__).parents[2] / "samples"
SCHEMA = '{"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}'

StartStack = Callable[..., AbstractAsyncContextManager[stack.Stack]]


@pytest.fixture(scope="session")
def start_stack(tmp_path_factory: pytest.TempPathFactory) -> StartStack:
    """Return what runs a whole system for a test of its own."""

    def start(**options: Any) -> AbstractAsyncContextManager[stack.Stack]:
        chosen = {
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


def details(error: grpc.aio.AioRpcError) -> dict[type[Message], Message]:
    """Return the google.rpc.Status details of an error by their type."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    found: dict[type[Message], Message] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                found[kind] = detail
    return found


def bad_paths(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the paths of the bad fields that an error names."""
    bad = details(error)[error_details_pb2.BadRequest]
    return [violation.field for violation in bad.field_violations]  # type: ignore[attr-defined]
