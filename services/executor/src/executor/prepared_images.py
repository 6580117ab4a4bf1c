"""Images as the model gets them, by the hash of what they were: each is prepared once, however many ask for it.

Those that were used last are kept within a bound of bytes, refused ones for a while too: an image that takes a
decoder's life takes it once.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from executor.ports import BadImage, ModelImage
from runtime.clock import Clock

REFUSED_SECONDS = 600.0

_REFUSAL_BYTES = 1024
"""What a refusal counts for."""


class PreparedImages:
    """Single flight in front of a cache."""

    def __init__(self, *, clock: Clock, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, ModelImage | _Refusal] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[ModelImage | BadImage | None]] = {}

    async def get(self, sha256: str, prepare: Callable[[], Awaitable[ModelImage]]) -> ModelImage:
        """Return an image that is kept, or what `prepare` makes, or what somebody's `prepare` is making already.

        Raises:
            BadImage: It was refused, now or a short while ago.
            Exception: Any other of `prepare`. It is nobody else's: the next who waits prepares the image itself.
        """
        while True:
            if (kept := self._found(sha256)) is not None:
                return _given(kept)
            under_way = self._under_way.get(sha256)
            if under_way is None:
                return await self._prepare(sha256, prepare)
            if (made := await asyncio.shield(under_way)) is not None:
                return _given(made)

    async def _prepare(self, sha256: str, prepare: Callable[[], Awaitable[ModelImage]]) -> ModelImage:
        under_way = self._under_way[sha256] = asyncio.get_running_loop().create_future()
        made: ModelImage | BadImage | None = None
        try:
            made = image = await prepare()
            self._keep(sha256, image, len(image.data))
        except BadImage as refusal:
            made = refusal
            self._keep(sha256, _Refusal(refusal, self._clock.monotonic() + REFUSED_SECONDS), _REFUSAL_BYTES)
            raise
        finally:
            del self._under_way[sha256]
            under_way.set_result(made)
        return image

    def _found(self, sha256: str) -> ModelImage | BadImage | None:
        kept = self._kept.get(sha256)
        if isinstance(kept, _Refusal):
            if self._clock.monotonic() < kept.until:
                return kept.error
            self._drop(sha256)
            return None
        if kept is not None:
            self._kept.move_to_end(sha256)
        return kept

    def _keep(self, sha256: str, made: "ModelImage | _Refusal", size: int) -> None:
        if size > self._max_bytes:
            return
        self._kept[sha256] = made
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, sha256: str) -> None:
        self._bytes -= _size(self._kept.pop(sha256))


class _Refusal:
    """Holds until a moment of the monotonic clock."""

    def __init__(self, error: BadImage, until: float) -> None:
        self.error = error
        self.until = until


def _size(kept: ModelImage | _Refusal) -> int:
    return len(kept.data) if isinstance(kept, ModelImage) else _REFUSAL_BYTES


def _given(made: ModelImage | BadImage) -> ModelImage:
    if isinstance(made, BadImage):
        # Another one each time: a traceback grows with each raise.
        raise BadImage(str(made), sha256=made.sha256)
    return made
