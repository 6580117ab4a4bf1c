"""A gRPC server with health, reflection and the limits of the contract."""

from collections.abc import Iterable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.rpc_errors import ErrorInterceptor, Translation
from runtime.tls import ServerTls

MAX_REQUEST_BYTES = 32 * 1024 * 1024
MAX_STREAMS = 2_000


class GrpcServer:
    """One server: add servicers to `server`, then `start` it with the full names of its services."""

    def __init__(
        self,
        *,
        address: str,
        translate: Translation,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        tls: ServerTls | None = None,
    ) -> None:
        self.server = grpc.aio.server(
            # Outermost: what the others raise is translated, too.
            interceptors=[ErrorInterceptor(translate), *interceptors],
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", -1),
                # Of one connection; more calls wait at the client. Above what one client may have open.
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                # A second process on the same port is an error, not a silent half of the traffic.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Whoever connects and asks for nothing.
                ("grpc.max_connection_idle_ms", 900_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        self._address = address
        self._tls = tls
        self._health = health.aio.HealthServicer()
        self._services: tuple[str, ...] = ()

    async def start(self, services: Iterable[str]) -> str:
        """Serve, NOT_SERVING at first, and return the bound `host:port`.

        Raises:
            OSError: The address cannot be bound.
        """
        self._services = ("", *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        reflection.enable_server_reflection(
            (*self._services[1:], health.SERVICE_NAME, reflection.SERVICE_NAME), self.server
        )
        await self.set_serving(serving=False)
        host = self._address.rpartition(":")[0]
        try:
            port = self._add_port()
        except RuntimeError:
            raise OSError(f"The address {self._address} cannot be bound.") from None
        await self.server.start()
        return f"{host}:{port}"

    async def set_serving(self, *, serving: bool) -> None:
        """Answer health checks, of the whole and of every service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._health.set(service, status)

    async def stop(self, grace_seconds: float) -> None:
        """Stop taking calls, give running ones this long, then cancel them."""
        await self.server.stop(grace_seconds)

    def _add_port(self) -> int:
        if self._tls is None:
            return self.server.add_insecure_port(self._address)
        return self.server.add_secure_port(self._address, self._tls.grpc_credentials())
