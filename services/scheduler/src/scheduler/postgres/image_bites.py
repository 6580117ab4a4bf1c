"""How many images are deleted at once: a large value is stored in pieces of 2 kB, and a statement has two seconds."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

MOST_ROWS = 500
_MOST_BYTES = 32 * 1024 * 1024

Key = TypeVar("Key", bytes, tuple[str, bytes])


def bites(sizes: Mapping[Key, int]) -> Iterator[list[Key]]:
    """Yield the keys of images in order, as many at a time as may be deleted at once."""
    bite: list[Key] = []
    weight = 0
    for key, size in sorted(sizes.items()):
        if bite and (weight + size > _MOST_BYTES or len(bite) == MOST_ROWS):
            yield bite
            bite, weight = [], 0
        bite.append(key)
        weight += size
    if bite:
        yield bite
