"""Serves `GET /livez`: the process runs and its event loop turns. Readiness is the gRPC health service's business."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def _livez(request: Request) -> PlainTextResponse:
    del request
    return PlainTextResponse("ok\n")


@contextlib.asynccontextmanager
async def serving(address: str) -> AsyncIterator[str]:
    """Serve at `host:port` while the block runs; yields the bound address.

    Raises:
        OSError: The address cannot be bound.
    """
    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server((host or "0.0.0.0", int(port)))  # noqa: S104 - an empty host means all, on purpose
    except OSError as error:
        raise OSError(f"The address {address} cannot be bound: {error.strerror or error}") from None
    config = uvicorn.Config(
        Starlette(routes=[Route("/livez", _livez)]), log_config=None, access_log=False, lifespan="off"
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=[listener]))
        try:
            yield f"{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


class _Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
