"""Recently submitted small images in memory: most are dispatched moments later, and need no second read."""

import cachetools

INLINE_BYTES = 64 * 1024
"""Larger images are fetched by the executor."""

INLINE_BYTES_A_JOB = 256 * 1024
"""And so are those beyond this sum: with a job's texts they make a message of less than 1 MiB."""


class ImageCache:
    """Least recently used bytes by (client, hash), bounded in bytes. Holds only images that go inline."""

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._images: cachetools.LRUCache[tuple[str, str], bytes] = cachetools.LRUCache(max_bytes, getsizeof=len)
        self._generation = 0

    @property
    def generation(self) -> int:
        """Rises with every purge: what was stored or read before may be removed by it."""
        return self._generation

    def put(self, client_id: str, sha256: str, data: bytes, generation: int) -> None:
        """Keep an image that was stored or read in this generation."""
        if generation == self._generation and len(data) <= min(INLINE_BYTES, self._images.maxsize):
            self._images[client_id, sha256] = data

    def get(self, client_id: str, sha256: str) -> bytes | None:
        return self._images.get((client_id, sha256))

    def forget_client(self, client_id: str) -> None:
        """Drop a client's images, some of which were removed; those that are left are read again."""
        self._generation += 1
        for key in [key for key in self._images if key[0] == client_id]:
            self._images.pop(key, None)

    def clear(self) -> None:
        """Drop everything."""
        self._generation += 1
        self._images.clear()
