import hashlib

import pytest
from executor_world import assignment

from devkit.virtual_time import VirtualClock
from executor.images import LocalImages
from executor.ports import ImageRefused, ModelImage
from executor.work import ImageRef


class ManyImages:
    """Has the images it is given, by hash."""

    def __init__(self, *images: bytes) -> None:
        self.images = {hashlib.sha256(image).hexdigest(): image for image in images}
        self.fetched: list[str] = []

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        self.fetched.append(sha256)
        return self.images[sha256]


def ref(image: bytes) -> ImageRef:
    return ImageRef(sha256=hashlib.sha256(image).hexdigest(), mime_type="image/png")


async def test_images_keep_their_order() -> None:
    source = ManyImages(b"one", b"two")
    job = assignment(images=(ref(b"two"), ref(b"one"), ref(b"two")), inline=False)

    found = await LocalImages(source=source, clock=VirtualClock()).of(job)

    assert found == tuple(ModelImage(data, "image/png") for data in (b"two", b"one", b"two"))
    assert len(source.fetched) == 2


async def test_the_latest_used_images_are_kept_within_the_bound() -> None:
    source = ManyImages(b"a" * 40, b"b" * 40, b"c" * 40)
    images = LocalImages(source=source, clock=VirtualClock(), max_kept_bytes=100)

    for image in (b"a", b"b", b"a", b"c", b"a", b"b"):
        await images.of(assignment(images=(ref(image * 40),), inline=False))

    assert source.fetched == [ref(image * 40).sha256 for image in (b"a", b"b", b"c", b"b")]


async def test_an_image_larger_than_the_bound_is_used_and_not_kept() -> None:
    source = ManyImages(b"a" * 200)
    images = LocalImages(source=source, clock=VirtualClock(), max_kept_bytes=100)

    for _ in range(2):
        await images.of(assignment(images=(ref(b"a" * 200),), inline=False))

    assert len(source.fetched) == 2


@pytest.mark.parametrize("size", [10, 2 * 1024 * 1024])
async def test_an_image_that_arrives_damaged_is_refused_and_not_kept(size: int) -> None:
    source = ManyImages()
    source.images[ref(b"a" * size).sha256] = b"b" * size
    images = LocalImages(source=source, clock=VirtualClock())

    for _ in range(2):
        with pytest.raises(ImageRefused):
            await images.of(assignment(images=(ref(b"a" * size),), inline=False))

    assert len(source.fetched) == 2
