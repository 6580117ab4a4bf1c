"""Opens what fetches images from the web, with the machine's resolver and network.

It has an event loop in a thread of its own: a server can keep the HTTP library busy, and heartbeats go on meanwhile.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence

import httpcore2
import httpx2

from executor.loop_thread import LoopThread
from executor.ports import UriSource
from executor.uris.addresses import AddressJudge, Network
from executor.uris.connections import JudgedNetwork, SystemResolver
from executor.uris.fetch import UriImages
from executor.uris.hosts import Hosts


@contextlib.asynccontextmanager
async def open_uris(
    *, seconds: float, allowed_hosts: Sequence[str], allowed_networks: Sequence[Network]
) -> AsyncIterator[UriSource]:
    """Fetch while the block runs; TLS trusts the roots that the providers' clients trust."""
    resolver = SystemResolver()
    try:
        images = UriImages(
            hosts=Hosts(allowed_hosts),
            network=JudgedNetwork(AddressJudge(allowed_networks), resolver, httpcore2.AnyIOBackend()),
            tls=httpx2.create_ssl_context(),
            seconds=seconds,
        )
        async with LoopThread(name="uris") as thread:
            yield FetchedBeside(images, thread)
    finally:
        resolver.close()


class FetchedBeside:
    """Implements ports.UriSource: has another one fetch in a thread."""

    def __init__(self, images: UriSource, thread: LoopThread) -> None:
        self._images = images
        self._thread = thread

    async def fetch(self, uri: str) -> bytes:
        """See ports.UriSource."""
        return await self._thread.run(self._fetch(uri))

    async def _fetch(self, uri: str) -> bytes:
        return await self._images.fetch(uri)
