"""Asks a server on this machine how it is. Apart from the server, for orchestrators start it every few seconds."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.addresses import reachable_from_here
from runtime.tls import ServerTls


async def is_serving(address: str, *, tls: ServerTls | None = None, timeout_seconds: float = 5.0) -> bool:
    """Ask the server on this machine that is bound to `host:port` for its health; any failure is a no.

    Args:
        address: Where it is bound.
        tls: The server's own files, if it serves by TLS.
        timeout_seconds: How long an answer may take.
    """
    async with _channel_to(reachable_from_here(address), tls) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(  # type: ignore[attr-defined]  # the stubs package forgot it
                health_pb2.HealthCheckRequest(), timeout=timeout_seconds
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel_to(address: str, tls: ServerTls | None) -> grpc.aio.Channel:
    # With `http_proxy` set gRPC would ask the proxy.
    options: list[tuple[str, object]] = [("grpc.enable_http_proxy", 0)]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    credentials, name = tls.own_client_credentials()
    options.append(("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(address, credentials, options=options)
