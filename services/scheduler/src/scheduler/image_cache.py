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

    def put(self, client_id: str, sha256: str, data: bytes) -> None:
        if len(data) <= min(INLINE_BYTES, self._images.maxsize):
            self._images[client_id, sha256] = data

    def get(self, client_id: str, sha256: str) -> bytes | None:
        return self._images.get((client_id, sha256))
