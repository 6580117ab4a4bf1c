"""How the store in memory keeps images, and collects them. See ports.CollectionStore."""

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence

from scheduler.jobs import ImageRef, NewImage
from scheduler.memory_lanes import MemoryLanes

_LIFETIME = datetime.timedelta(hours=24)


class MemoryImages(MemoryLanes):
    """The part of the store that keeps images."""

    _images: dict[tuple[str, str], NewImage]
    _image_ends: dict[tuple[str, str], datetime.datetime]

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        found = {sha256: image.ref for sha256, image in self._images_of(client_id, sha256s)}
        self._let_live(client_id, found)
        return found

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        for image in images:
            self._images.setdefault((client_id, image.ref.sha256), image)
        self._let_live(client_id, [image.ref.sha256 for image in images])

    async def get_images(
        self, client_id: str, sha256s: Collection[str], *, within: datetime.timedelta | None = None
    ) -> Mapping[str, bytes]:
        del within
        return {sha256: image.data for sha256, image in self._images_of(client_id, sha256s)}

    async def renew_images(self) -> datetime.datetime | None:
        for row in self._rows.values():
            if not row.job.state.is_final and row.job.step == 1:
                self._let_live(row.job.client_id, [image.sha256 for image in row.job.spec.images])
        return self._time.now()

    async def collect_images(self, expired_before: datetime.datetime) -> int:
        expired = [key for key in self._images if self._image_ends[key] < expired_before]
        for key in expired:
            del self._images[key]
        return len(expired)

    async def remove_objects(self) -> tuple[int, int]:
        return 0, 0

    def _let_live(self, client_id: str, sha256s: Collection[str]) -> None:
        for sha256 in sha256s:
            self._image_ends[client_id, sha256] = self._time.now() + _LIFETIME

    def _images_of(self, client_id: str, sha256s: Collection[str]) -> Iterator[tuple[str, NewImage]]:
        for sha256 in sha256s:
            image = self._images.get((client_id, sha256))
            if image is not None:
                yield sha256, image
