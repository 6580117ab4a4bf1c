"""What a place for objects can do, and how it fails."""

from typing import Protocol


class PlaceFailed(Exception):
    """The place did not do it; the message says why in a few words, without credentials."""


class Place(Protocol):
    """Keeps objects by their names. All raise PlaceFailed."""

    async def prepare(self) -> None:
        """Make what is missing to use it."""
        ...

    async def put(self, name: str, data: bytes) -> None:
        """Store an object; it is durable once this returns, and never seen in part."""
        ...

    async def get(self, name: str) -> bytes | None:
        """Return an object; None only where it is sure that there is none."""
        ...

    async def remove(self, name: str) -> None:
        """Remove an object; one that is not there is fine."""
        ...
