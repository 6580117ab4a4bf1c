"""Makes a job's images local and ready: fetched, with the right hash, and decoded, before anything is paid for."""

import asyncio
import hashlib

from executor.ports import (
    BadImage,
    ImagePreparer,
    ImageSource,
    ImageSourceAway,
    ImageUnavailable,
    ModelImage,
    UriSource,
)
from executor.prepared_images import PreparedImages
from executor.work import Assignment, ImageRef
from runtime.clock import Clock

MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_BYTES_A_JOB = 70_000_000
"""Of all images together. Providers take requests of 100 MB, in which images are a third larger."""

_RETRY_SECONDS = 1.0
_HASHED_IN_THREAD_BYTES = 1024 * 1024


class LocalImages:
    """The use case; keeps the ready images that were used last."""

    def __init__(
        self,
        *,
        source: ImageSource,
        uris: UriSource,
        preparer: ImagePreparer,
        clock: Clock,
        max_kept_bytes: int = MAX_KEPT_BYTES,
    ) -> None:
        """Wire it; `source` has the images that have a hash, `uris` the others."""
        self._source = source
        self._uris = uris
        self._preparer = preparer
        self._clock = clock
        self._prepared = PreparedImages(clock=clock, max_bytes=max_kept_bytes)

    async def of(self, assignment: Assignment) -> tuple[ModelImage, ...]:
        """Return the images in their order. While the source is away it is asked again.

        Raises:
            BadImage: One of them is none that a model could read.
            ImageUnavailable: One of them will not be had, or its bytes are others than their hash says.
            TimeoutError: They were not ready within the time that the call may take.
        """
        images: list[ModelImage] = []
        async with asyncio.timeout(assignment.timeout.total_seconds()):
            for image in assignment.images:
                images.append(await self._ready(image, assignment))
                if (size := sum(len(each.data) for each in images)) > MAX_BYTES_A_JOB:
                    raise BadImage(f"The images have more than {MAX_BYTES_A_JOB:,} bytes together: {size:,}.")
        return tuple(images)

    async def _ready(self, image: ImageRef, assignment: Assignment) -> ModelImage:
        if not image.uri:
            return await self._prepared.get(image.sha256, lambda: self._had(image.sha256, assignment))
        # Each time anew: what is there may change.
        data = await self._uris.fetch(image.uri)
        sha256 = await _sha256(data)
        return await self._prepared.get(sha256, lambda: self._prepare(data, sha256))

    async def _had(self, sha256: str, assignment: Assignment) -> ModelImage:
        data = assignment.inline_images.get(sha256)
        if data is None:
            data = await self._fetch(sha256, assignment.attempt_id.job_id)
        found = await _sha256(data)
        if found != sha256:
            raise ImageUnavailable(f"The bytes of the image {sha256} arrived as {found}.")
        return await self._prepare(data, sha256)

    async def _fetch(self, sha256: str, job_id: str) -> bytes:
        while True:
            try:
                return await self._source.fetch(sha256, job_id)
            except ImageSourceAway:
                await self._clock.sleep(_RETRY_SECONDS)

    async def _prepare(self, data: bytes, sha256: str) -> ModelImage:
        try:
            return await self._preparer.prepare(data)
        except BadImage as refusal:
            raise BadImage(f"The image {sha256} is refused: {refusal}", sha256=sha256) from None


async def _sha256(data: bytes) -> str:
    if len(data) > _HASHED_IN_THREAD_BYTES:
        return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    return hashlib.sha256(data).hexdigest()
