"""Finds the place of an object by its address, and bounds how long and how many at a time. See ports.ImageObjects.

An address is a place's URL and the object's name: `s3://bucket/prefix/<client>/<image>-<number>`. So objects stay
where they were stored, and can be read there, whatever place the setting names for new ones.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Collection, Sequence

from runtime import logs
from runtime.randomness import Randomness
from scheduler.errors import ImageStoreUnusable, StoreUnavailable
from scheduler.object_images.bucket import Bucket
from scheduler.object_images.directory import Directory
from scheduler.object_images.places import Place, PlaceFailed

_CALL_SECONDS = 10.0
# Each may hold an image of 20 MiB.
_READS = 16
_WRITES = 16

_log = logs.get_logger(__name__)


class ObjectImages:
    """Implements ports.ImageObjects.

    Args:
        home: The URL of the place for new objects, "" where the database keeps new images.
        randomness: Makes addresses that were never used.
    """

    def __init__(self, home: str, *, randomness: Randomness) -> None:
        self._home = home
        self._randomness = randomness
        self._places: dict[str, Place] = {}
        self._reads = asyncio.Semaphore(_READS)
        self._writes = asyncio.Semaphore(_WRITES)

    @property
    def are_wanted(self) -> bool:
        return bool(self._home)

    async def prepare(self) -> None:
        """Make the place for new objects usable. Raises ImageStoreUnusable."""
        if not self._home:
            return
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._place(self._home).prepare()
        except (PlaceFailed, TimeoutError) as error:
            raise ImageStoreUnusable(self._home, str(error) or "it takes too long") from None

    def new_address(self, client_id: str, sha256: str) -> str:
        # The client's id may have characters in it that a name cannot have.
        client = hashlib.sha256(client_id.encode()).hexdigest()[:16]
        return f"{self._home}/{client}/{sha256}-{self._randomness.token(4).hex()}"

    async def put(self, address: str, data: bytes) -> None:
        place, name = self._find(address)
        async with self._bounded(self._writes, place):
            await self._place(place).put(name, data)

    async def get(self, address: str) -> bytes | None:
        place, name = self._find(address)
        async with self._bounded(self._reads, place):
            return await self._place(place).get(name)

    async def remove(self, addresses: Sequence[str]) -> Collection[str]:
        gone: set[str] = set()
        failed: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            for address in addresses:
                tasks.create_task(self._remove(address, gone, failed))
        return gone

    async def _remove(self, address: str, gone: set[str], failed: set[str]) -> None:
        """Remove one, unless its place has failed: it is not asked a hundred times."""
        place, name = self._find(address)
        try:
            async with self._bounded(self._writes, place):
                if place not in failed:
                    await self._place(place).remove(name)
                    gone.add(address)
        except StoreUnavailable as error:
            if place not in failed:
                _log.warning("image_objects_not_removed", place=place, error=str(error))
            failed.add(place)

    @contextlib.asynccontextmanager
    async def _bounded(self, turns: asyncio.Semaphore, place: str) -> AsyncIterator[None]:
        """Hold what happens to the bounds, and let failures out as the store's."""
        try:
            async with asyncio.timeout(_CALL_SECONDS), turns:
                yield
        except (PlaceFailed, TimeoutError) as error:
            raise StoreUnavailable(f"The images in {place} are away: {str(error) or 'it takes too long'}.") from None

    def _find(self, address: str) -> tuple[str, str]:
        place, client, image = address.rsplit("/", 2)
        return place, f"{client}/{image}"

    def _place(self, url: str) -> Place:
        place = self._places.get(url)
        if place is None:
            place = self._places[url] = Directory(url) if url.startswith("file:") else Bucket(url)
        return place
