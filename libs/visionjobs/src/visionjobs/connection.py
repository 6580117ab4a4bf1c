"""The way to the scheduler: channels with their TLS, limits and keepalive, and the services on them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from visionjobs import addresses
from visionjobs.tls import Tls, credentials, stamp
from visionjobs.v1.admin_service_pb2_grpc import AdminServiceStub
from visionjobs.v1.vision_job_service_pb2_grpc import VisionJobServiceStub

if TYPE_CHECKING:
    # The generated code has these types for checkers only.
    from visionjobs.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from visionjobs.v1.vision_job_service_pb2_grpc import VisionJobServiceAsyncStub

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A channel and the services on it."""

    channel: grpc.aio.Channel
    jobs: "VisionJobServiceAsyncStub"
    admin: "AdminServiceAsyncStub"


class Connection:
    """Leads to the scheduler, with the TLS files as they are now."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        """Prepare; the first call connects, and each one after a broken connection does again.

        Raises:
            ValueError: A file is not in order.
        """
        self._address = address
        self._tls = tls
        # Before reading: what changes meanwhile is read again.
        self._stamp = stamp(tls)
        self._lines = [_open(address, tls)]

    def line(self) -> Line:
        """Return the line for a call that begins now: another one if the files have changed since the last.

        Calls under way stay on theirs, so that one is kept; gRPC disconnects it when it has long been idle.
        """
        present = stamp(self._tls)
        if present != self._stamp:
            self._stamp = present
            try:
                self._lines.append(_open(self._address, self._tls))
            except ValueError:
                # One half of a pair is written before the other; the line that there is serves until then.
                return self._lines[-1]
        return self._lines[-1]

    async def close(self) -> None:
        """End running calls and disconnect."""
        for line in self._lines:
            await line.channel.close()


def _open(address: str, tls: Tls | None) -> Line:
    channel = _open_channel(address, tls)
    return Line(channel, VisionJobServiceStub(channel), AdminServiceStub(channel))


def _open_channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    options: list[tuple[str, int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A watch may be silent for long; without pings a peer that vanished would be noticed by nobody.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # gRPC's own pause between connection attempts grows to two minutes; a scheduler that is back is used soon.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # With `http_proxy` set gRPC would carry what is meant for this machine, with its key, to the proxy.
        ("grpc.enable_http_proxy", 0 if addresses.is_loopback(address) else 1),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials(tls), options=options)
