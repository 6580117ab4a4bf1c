"""The way to the scheduler: its address, the channel's limits and keepalive, and what goes with every call."""

import re

import grpc
from opentelemetry import propagate

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

Metadata = tuple[tuple[str, str], ...]

# Targets that name their resolver; what follows is the resolver's business.
_TARGET = r"(ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):.+"
_HOST_AND_PORT = r"(dns:(//[^/]*/)?)?(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w-]+(\.[\w-]+)*\.?):(?P<port>\d{1,5})"


def open_channel(address: str) -> grpc.aio.Channel:
    """Open a channel. It connects with the first call, and again by itself.

    Raises:
        ValueError: No scheduler can have this address. gRPC would report it as one that is away for the moment.
    """
    parts = re.fullmatch(_HOST_AND_PORT, address, re.ASCII)
    if not (re.fullmatch(_TARGET, address) or (parts and 0 < int(parts["port"]) < 65536)):
        raise ValueError(f"{address!r} is not an address of the form HOST:PORT, such as 127.0.0.1:50051.")
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A watch may be silent for long; without pings a peer that vanished would be noticed by nobody.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            # gRPC's own pause between connection attempts grows to two minutes; a scheduler that is back is used soon.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
    )


class Caller:
    """Who calls: makes the metadata of each call."""

    def __init__(self, api_key: str) -> None:
        """Take the key.

        Raises:
            ValueError: The key cannot be sent. The message does not show it.
        """
        self._key = api_key.strip()
        # gRPC itself would answer with an error that names neither the key nor the reason.
        if not (self._key.isascii() and self._key.isprintable()):
            raise ValueError("The API key holds characters that cannot be sent.")

    def metadata(self) -> Metadata:
        """Return the key, and the trace context if a span is current."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        # Some propagators write upper-case names, which gRPC refuses.
        trace = tuple((name.lower(), value) for name, value in carrier.items())
        return (*trace, ("authorization", f"Bearer {self._key}")) if self._key else trace
