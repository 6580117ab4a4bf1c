"""Serves the HTTP port, and lets no client hold a connection for longer than it needs to."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
"""Requests beyond it are answered 503; twice as many connections are not taken at all."""

REQUEST_SECONDS = 30.0
"""A request that has not come, or an answer that was not taken, within it ends its connection."""

_HEADER_BYTES = 16 * 1024
_IDLE_SECONDS = 5
_STOP_SECONDS = 2


@contextlib.asynccontextmanager
async def serving(address: str, app: ASGIApp, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve at `host:port` while the block runs, by TLS if there is a context; yields the bound address.

    Raises:
        OSError: The address cannot be bound.
    """
    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server((host or "0.0.0.0", int(port)))  # noqa: S104 - an empty host means all, on purpose
    except OSError as error:
        raise OSError(f"The address {address} cannot be bound: {error.strerror or error}") from None
    server = _Server(_configured(app, tls))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.serve(sockets=[listener]))
        try:
            yield f"{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


def _configured(app: ASGIApp, tls: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_BoundedProtocol,
        ws="none",
        lifespan="off",
        ssl_context_factory=None if tls is None else lambda _, __: tls,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


class _Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BoundedProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for ever for a request to be sent and for an answer to be taken."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Whatever becomes of the loggers: access logs would hold links, which are secrets.
        self.access_log = False
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()
        else:
            self._await_next_request()

    def on_response_complete(self) -> None:
        # Before, for a request that was pipelined begins in it.
        self._await_next_request()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _await_next_request(self) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
