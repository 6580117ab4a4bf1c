"""The installed command with a key of its own, before a scheduler that asks for one."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status
from scheduler_in_process import SchedulerInProcess

from devkit.programs import Program, logged, program
from devkit.stack import clean_environment
from runtime.health_check import is_serving
from runtime.rpc_errors import RpcError
from visionjobs.v1 import executor_service_pb2_grpc

COMMAND = "visionjobs-executor"
GOOD, BAD = "vj_good_0123456789", "vj_bad_0123456789"


class Gate(grpc.aio.ServerInterceptor):
    """Lets the good key in."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        if ("authorization", f"Bearer {GOOD}") in (handler_call_details.invocation_metadata or ()):
            return await continuation(handler_call_details)

        async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            error = RpcError(grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", "The key is not known.")
            await context.abort_with_status(rpc_status.to_status(error.status()))

        return grpc.stream_stream_rpc_method_handler(refuse)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[Gate()])
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(SchedulerInProcess(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def environment_of(folder: Path, address: str, **more: str) -> dict[str, str]:
    return clean_environment() | {
        "EXECUTOR_SCHEDULER_ADDRESS": address,
        "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
        "EXECUTOR_SPOOL_DIR": str(folder / "spool"),
        "EXECUTOR_LOG_LEVEL": "DEBUG",
        "GEMINI_API_KEY": "key",
        **more,
    }


def lines_of(executor: Program) -> list[dict[str, Any]]:
    return [json.loads(line) for line in executor.log.read_text().splitlines() if line.startswith("{")]


async def test_a_refused_executor_stays_up_and_works_once_its_key_file_holds_a_good_key(
    address: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(BAD)
    environment = environment_of(tmp_path, address, EXECUTOR_API_KEY_FILE=str(file))
    async with program(COMMAND, environment=environment, log=tmp_path / "log") as executor:
        health = await executor.ready(logged("executor_started", "health_address"))
        assert await executor.ready(logged("scheduler_refused", "reason")) == "KEY_INVALID"
        # It goes on, and was refused again.
        await executor.ready(logged("scheduler_still_away", "failures"))
        assert not await is_serving(health)

        file.write_text(f"{GOOD}\n")
        await executor.ready(logged("scheduler_connected", "session"))

    assert [line["event"] for line in lines_of(executor) if line["level"] == "error"] == ["scheduler_refused"]
    log = executor.log.read_text()
    assert GOOD not in log
    assert BAD not in log


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"EXECUTOR_SCHEDULER_ADDRESS": "scheduler.invalid:50051"}, "set EXECUTOR_API_KEY_FILE"),
        ({"EXECUTOR_HEALTH_ADDRESS": "0.0.0.0:0"}, "EXECUTOR_HEALTH_ADDRESS (0.0.0.0:0)"),
        ({"EXECUTOR_TLS_CA_FILE": "/nowhere.pem"}, "EXECUTOR_TLS_CA_FILE is wrong: /nowhere.pem cannot be read"),
    ],
)
async def test_it_does_not_start_with_open_doors_or_unusable_files(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    environment = environment_of(tmp_path, "127.0.0.1:9") | variables
    async with program(COMMAND, environment=environment, log=tmp_path / "log") as executor, asyncio.timeout(30):
        assert await executor.wait() == 2

    log = executor.log.read_text()
    assert sentence in log
    assert "Traceback" not in log
