"""Makes a job's images local: from the assignment, from memory, or from the scheduler, and never with a wrong hash."""

import asyncio
import hashlib
from collections import OrderedDict

from executor.ports import ImageRefused, ImageSource, ImageSourceAway, ModelImage
from executor.work import Assignment, ImageRef
from runtime.clock import Clock

MAX_KEPT_BYTES = 64 * 1024 * 1024
_RETRY_SECONDS = 1.0
_HASHED_IN_THREAD_BYTES = 1024 * 1024


class LocalImages:
    """The use case; keeps the fetched images that were used last."""

    def __init__(self, *, source: ImageSource, clock: Clock, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._source = source
        self._clock = clock
        self._max_kept_bytes = max_kept_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def of(self, assignment: Assignment) -> tuple[ModelImage, ...]:
        """Return the images in their order. While the source is away it is asked again.

        Raises:
            ImageRefused: An image will not be had, or its bytes are others than their hash says.
            TimeoutError: An image did not come within the time that the call may take.
        """
        return tuple([ModelImage(await self._bytes(image, assignment), image.mime_type) for image in assignment.images])

    async def _bytes(self, image: ImageRef, assignment: Assignment) -> bytes:
        data = assignment.inline_images.get(image.sha256)
        if data is not None:
            await _verify(data, image.sha256)
            return data
        data = self._kept.get(image.sha256)
        if data is not None:
            self._kept.move_to_end(image.sha256)
            return data
        async with asyncio.timeout(assignment.timeout.total_seconds()):
            data = await self._fetch(image.sha256, assignment.attempt_id.job_id)
        await _verify(data, image.sha256)
        self._keep(image.sha256, data)
        return data

    async def _fetch(self, sha256: str, job_id: str) -> bytes:
        while True:
            try:
                return await self._source.fetch(sha256, job_id)
            except ImageSourceAway:
                await self._clock.sleep(_RETRY_SECONDS)

    def _keep(self, sha256: str, data: bytes) -> None:
        if sha256 in self._kept or len(data) > self._max_kept_bytes:
            return
        self._kept[sha256] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > self._max_kept_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


async def _verify(data: bytes, sha256: str) -> None:
    if len(data) > _HASHED_IN_THREAD_BYTES:
        found = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    else:
        found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ImageRefused(f"The bytes of the image {sha256} arrived as {found}.")
