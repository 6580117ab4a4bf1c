"""The workers of an executor: as many images at once as there are workers, and none pays for another's worker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from executor.pixels import kinds, process
from executor.pixels.frames import Reply
from executor.pixels.process import Worker, WorkerDied, WorkerLimits, WorkerNotStarted
from executor.ports import BadImage, ImageUnavailable, ModelImage
from runtime import logs

_MOST_IMAGES = 1000
"""After which a worker makes room for a new one: decoders leak."""

_log = logs.get_logger(__name__)


class ImageWorkers:
    """Implements ports.ImagePreparer. Workers start with the first images, and stay."""

    def __init__(self, limits: WorkerLimits, *, workers: int) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(workers)
        self._idle: list[Worker] = []

    async def prepare(self, data: bytes) -> ModelImage:
        """See ports.ImagePreparer. An image that its worker dies of is tried once more, in a fresh one."""
        async with self._places:
            try:
                reply = await self._reply(data)
            except WorkerNotStarted as error:
                _log.error("image_worker_not_started", reason=str(error))
                raise ImageUnavailable(f"No image can be decoded: {error}") from None
        if reply.refusal:
            raise BadImage(reply.refusal)
        if reply.mime_type not in kinds.ALL:
            raise BadImage("The process that decoded it made no sense.")
        return ModelImage(data if reply.new_data is None else reply.new_data, reply.mime_type)

    async def stop(self) -> None:
        """End the workers; none may be busy."""
        while self._idle:
            await self._idle.pop().stop()

    async def _reply(self, data: bytes) -> Reply:
        try:
            return await self._decode(await self._worker(), data)
        except WorkerDied as death:
            _log.warning("image_worker_died", reason=str(death), bytes=len(data))
        try:
            return await self._decode(await self._fresh_worker(), data)
        except WorkerDied as death:
            _log.warning("image_worker_died", reason=str(death), bytes=len(data), refused=True)
            raise BadImage(f"It cannot be decoded: the process that tried {death}, twice.") from None

    async def _worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
        return await process.start(self._limits)

    async def _fresh_worker(self) -> Worker:
        # In the place of one that waits: there are never more than were asked for.
        if self._idle:
            await self._idle.pop().stop()
        return await process.start(self._limits)

    async def _decode(self, worker: Worker, data: bytes) -> Reply:
        reply = await worker.decode(data)
        if worker.images < _MOST_IMAGES:
            self._idle.append(worker)
        else:
            await worker.stop()
        return reply


@contextlib.asynccontextmanager
async def open_workers(limits: WorkerLimits, *, workers: int) -> AsyncIterator[ImageWorkers]:
    """Have workers while the block runs."""
    images = ImageWorkers(limits, workers=workers)
    try:
        yield images
    finally:
        await images.stop()
