"""Connections to names: each is looked up once, all its addresses are judged, and one of these is connected to.

Whoever answers for a name may change his mind between two look-ups. There is no second one.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import httpcore2

from executor.uris.addresses import AddressJudge

_MOST_TRIED = 4
_CONNECT_SECONDS = 5.0
_LOOKUPS_AT_ONCE = 32


class AddressRefused(Exception):
    """A name leads where nobody may be sent."""


class NameNotFound(Exception):
    """A name has no address, or nobody could be asked for it."""


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return all addresses of a name, or of an address in whatever notation. Raises NameNotFound."""
        ...


class SystemResolver:
    """The machine's. It waits in threads of its own: a slow name server holds up other look-ups, and nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="names")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError):
            # A label that is too long is a UnicodeError.
            raise NameNotFound from None
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class JudgedNetwork(httpcore2.AsyncNetworkBackend):
    """What httpcore connects through."""

    def __init__(self, judge: AddressJudge, resolver: Resolver, network: httpcore2.AsyncNetworkBackend) -> None:
        """Look names up by `resolver`, and connect to addresses by `network`."""
        self._judge = judge
        self._resolver = resolver
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of the addresses of a host. Raises AddressRefused, NameNotFound or httpcore2.ConnectError."""
        addresses = await self._resolver.resolve(host, port)
        if not addresses:
            raise NameNotFound
        # One that must not be reached is reason enough: whoever answers so is up to something.
        if not all(self._judge.allows(address) for address in addresses):
            raise AddressRefused
        for address in addresses[:_MOST_TRIED]:
            try:
                stream = await self._network.connect_tcp(
                    address, port, timeout or _CONNECT_SECONDS, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return await self._checked(stream)
        raise httpcore2.ConnectError

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _checked(self, stream: httpcore2.AsyncNetworkStream) -> httpcore2.AsyncNetworkStream:
        """Return a connection whose other end was judged too."""
        peer = stream.get_extra_info("server_addr")
        if not isinstance(peer, tuple) or not self._judge.allows(str(peer[0])):
            await stream.aclose()
            raise AddressRefused
        return stream


def _look_up(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for *_, address in found]
