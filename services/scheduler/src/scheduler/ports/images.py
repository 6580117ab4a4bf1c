"""What keeping and collecting the bytes of images needs."""

import datetime
from collections.abc import Collection, Sequence
from typing import Protocol


class CollectionStore(Protocol):
    """Removes images that nobody needs any more."""

    async def renew_images(self) -> datetime.datetime | None:
        """Let the images live longer that unfinished jobs have needed for long.

        Returns:
            A time: images that expired before it are needed by nobody. None if another scheduler is at it.
        """
        ...

    async def collect_images(self, expired_before: datetime.datetime) -> int:
        """Remove the images that expired before this time, which `renew_images` returned; return how many."""
        ...

    async def remove_objects(self) -> tuple[int, int]:
        """Remove the bytes outside of the database that no image names; return how many are gone, and are left."""
        ...


class ImageObjects(Protocol):
    """Keeps bytes outside of the database, under addresses that say where. All raise StoreUnavailable."""

    @property
    def are_wanted(self) -> bool:
        """Whether new images are to be kept here."""
        ...

    async def prepare(self) -> None:
        """Make what is missing to keep new images. Raises ImageStoreUnusable."""
        ...

    def new_address(self, client_id: str, sha256: str) -> str:
        """Return an address for an image that was never given to anybody."""
        ...

    async def put(self, address: str, data: bytes) -> None:
        """Store bytes; they are durable once this returns."""
        ...

    async def get(self, address: str) -> bytes | None:
        """Return the bytes; None only where it is sure that they are gone."""
        ...

    async def remove(self, addresses: Sequence[str]) -> Collection[str]:
        """Remove bytes; return the addresses where there are none any more. Raises nothing."""
        ...
