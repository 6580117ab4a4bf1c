"""Serves the emulator inside a running event loop: a test's, or the command's."""

import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from devkit.emulator.connections import Protocol

# Waiting calls are refused when the server closes; this is for connections that do not take their answer.
_SHUTDOWN_SECONDS = 3


@contextlib.asynccontextmanager
async def serving(app: Starlette, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve an app of `create_app` while the block runs, and give its base URL; port 0 picks a free one.

    Raises:
        OSError: The address cannot be bound.
    """
    listener = _bound(host, port)
    config = uvicorn.Config(
        app,
        http=Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    server = uvicorn.Server(config)
    # Not `serve`: it takes the process's signals, and needs a task of its own for nothing but a date header.
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        shown_host = f"[{host}]" if ":" in host else host
        yield f"http://{shown_host}:{listener.getsockname()[1]}"
    finally:
        app.state.close()
        await server.shutdown(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    # Not `socket.create_server`: without its protocol named, asyncio leaves Nagle's algorithm on, and every answer waits
    # 40 ms for the caller's delayed acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
