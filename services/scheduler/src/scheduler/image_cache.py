"""Recently submitted small images in memory: most are dispatched moments later, and need no second read."""

from collections import OrderedDict

INLINE_BYTES = 64 * 1024
"""Larger images are fetched by the executor."""


class ImageCache:
    """Least recently used bytes by (client, hash), bounded in bytes. Holds only images that go inline."""

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._images: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def put(self, client_id: str, sha256: str, data: bytes) -> None:
        key = (client_id, sha256)
        if len(data) > INLINE_BYTES or key in self._images:
            return
        self._images[key] = data
        self._size += len(data)
        while self._size > self._max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._size -= len(dropped)

    def get(self, client_id: str, sha256: str) -> bytes | None:
        data = self._images.get((client_id, sha256))
        if data is not None:
            self._images.move_to_end((client_id, sha256))
        return data
