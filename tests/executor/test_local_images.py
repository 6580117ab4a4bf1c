import asyncio
import hashlib

import pytest
from executor_world import AnyImage, NoUris, assignment

from devkit.virtual_time import VirtualClock, run
from executor.images import MAX_BYTES_A_JOB, LocalImages
from executor.ports import BadImage, ImageUnavailable, ModelImage
from executor.prepared_images import REFUSED_SECONDS
from executor.work import ImageRef


class ManyImages:
    """Has the images it is given, by hash."""

    def __init__(self, *images: bytes) -> None:
        self.images = {hashlib.sha256(image).hexdigest(): image for image in images}
        self.fetched: list[str] = []

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        self.fetched.append(sha256)
        return self.images[sha256]


class SlowDecoder:
    """Waits with each image until it is let go on."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.begins = asyncio.Event()
        self.go_on = asyncio.Event()
        self.refuses = False

    async def prepare(self, data: bytes) -> ModelImage:
        self.begun.append(data)
        self.begins.set()
        await self.go_on.wait()
        if self.refuses:
            raise BadImage("It is broken.")
        return ModelImage(data, "image/webp")


class OnePage:
    """The web: one image, whatever the address."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.fetched: list[str] = []

    async def fetch(self, uri: str) -> bytes:
        self.fetched.append(uri)
        return self.data


def ref(image: bytes) -> ImageRef:
    return ImageRef(sha256=hashlib.sha256(image).hexdigest(), mime_type="image/png")


def local(
    source: ManyImages,
    *,
    preparer: SlowDecoder | None = None,
    uris: OnePage | None = None,
    clock: VirtualClock | None = None,
    max_kept_bytes: int = 10_000,
) -> LocalImages:
    return LocalImages(
        source=source,
        uris=uris or NoUris(),
        preparer=preparer or AnyImage(),
        clock=clock or VirtualClock(),
        max_kept_bytes=max_kept_bytes,
    )


async def test_images_keep_their_order() -> None:
    source = ManyImages(b"one", b"two")
    job = assignment(images=(ref(b"two"), ref(b"one"), ref(b"two")), inline=False)

    found = await local(source).of(job)

    assert found == tuple(ModelImage(data, "image/png") for data in (b"two", b"one", b"two"))
    assert len(source.fetched) == 2


async def test_the_latest_used_images_are_kept_within_the_bound() -> None:
    source = ManyImages(b"a" * 40, b"b" * 40, b"c" * 40)
    images = local(source, max_kept_bytes=100)

    for image in (b"a", b"b", b"a", b"c", b"a", b"b"):
        await images.of(assignment(images=(ref(image * 40),), inline=False))

    assert source.fetched == [ref(image * 40).sha256 for image in (b"a", b"b", b"c", b"b")]


async def test_an_image_larger_than_the_bound_is_used_and_not_kept() -> None:
    source = ManyImages(b"a" * 200)
    images = local(source, max_kept_bytes=100)

    for _ in range(2):
        await images.of(assignment(images=(ref(b"a" * 200),), inline=False))

    assert len(source.fetched) == 2


@pytest.mark.parametrize("size", [10, 2 * 1024 * 1024])
async def test_an_image_that_arrives_damaged_is_refused_and_not_kept(size: int) -> None:
    source = ManyImages()
    source.images[ref(b"a" * size).sha256] = b"b" * size
    images = local(source)

    for _ in range(2):
        with pytest.raises(ImageUnavailable):
            await images.of(assignment(images=(ref(b"a" * size),), inline=False))

    assert len(source.fetched) == 2


async def test_the_model_gets_what_the_decoder_made_of_the_image() -> None:
    decoder = SlowDecoder()
    decoder.go_on.set()

    found = await local(ManyImages(), preparer=decoder).of(assignment())

    assert [image.mime_type for image in found] == ["image/webp"]


async def test_identical_images_of_jobs_under_way_are_decoded_once() -> None:
    decoder = SlowDecoder()
    images = local(ManyImages(b"a"), preparer=decoder)
    job = assignment(images=(ref(b"a"),), inline=False)

    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(images.of(job)) for _ in range(3)]
        await decoder.begins.wait()
        decoder.go_on.set()

    assert [task.result() for task in jobs] == [(ModelImage(b"a", "image/webp"),)] * 3
    assert decoder.begun == [b"a"]


async def test_a_job_that_is_cancelled_while_it_decodes_leaves_the_decoding_to_the_next_that_waits() -> None:
    decoder = SlowDecoder()
    images = local(ManyImages(b"a"), preparer=decoder)
    job = assignment(images=(ref(b"a"),), inline=False)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(images.of(job))
        await decoder.begins.wait()
        second = tasks.create_task(images.of(job))
        decoder.begins.clear()
        first.cancel()
        await decoder.begins.wait()
        decoder.go_on.set()

    assert first.cancelled()
    assert second.result() == (ModelImage(b"a", "image/webp"),)


async def test_a_job_that_waits_for_anothers_decoding_may_be_cancelled_without_it() -> None:
    decoder = SlowDecoder()
    images = local(ManyImages(b"a"), preparer=decoder)
    job = assignment(images=(ref(b"a"),), inline=False)

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(images.of(job))
        await decoder.begins.wait()
        second = tasks.create_task(images.of(job))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        decoder.go_on.set()

    assert second.cancelled()
    assert first.result() == (ModelImage(b"a", "image/webp"),)


def test_a_refused_image_is_not_decoded_again_for_a_while() -> None:
    decoder = SlowDecoder()
    decoder.go_on.set()
    decoder.refuses = True

    async def main() -> None:
        images = local(ManyImages(b"a"), preparer=decoder)
        for _ in range(3):
            with pytest.raises(BadImage, match="It is broken") as refused:
                await images.of(assignment(images=(ref(b"a"),), inline=False))
            assert refused.value.sha256 == ref(b"a").sha256
        assert len(decoder.begun) == 1

        await asyncio.sleep(REFUSED_SECONDS)
        with pytest.raises(BadImage):
            await images.of(assignment(images=(ref(b"a"),), inline=False))
        assert len(decoder.begun) == 2

    run(main())


async def test_refusals_take_their_share_of_the_bound() -> None:
    source = ManyImages(*(bytes([number]) for number in range(6)))
    decoder = SlowDecoder()
    decoder.go_on.set()
    decoder.refuses = True
    images = local(source, preparer=decoder, max_kept_bytes=3 * 1024)

    for number in (0, 1, 2, 3, 3, 2, 0):
        with pytest.raises(BadImage):
            await images.of(assignment(images=(ref(bytes([number])),), inline=False))

    assert decoder.begun == [b"\0", b"\1", b"\2", b"\3", b"\0"]


async def test_an_image_of_the_web_is_fetched_each_time_and_decoded_once() -> None:
    web = OnePage(b"a")
    decoder = SlowDecoder()
    decoder.go_on.set()
    images = local(ManyImages(), preparer=decoder, uris=web)
    job = assignment(images=(ImageRef(sha256="", mime_type="image/png", uri="https://images.example/a"),))

    for _ in range(2):
        assert await images.of(job) == (ModelImage(b"a", "image/webp"),)

    assert web.fetched == ["https://images.example/a"] * 2
    assert decoder.begun == [b"a"]


async def test_a_refused_image_of_the_web_is_named_by_the_hash_of_its_bytes() -> None:
    decoder = SlowDecoder()
    decoder.go_on.set()
    decoder.refuses = True
    job = assignment(images=(ImageRef(sha256="", mime_type="", uri="https://images.example/a"),))

    with pytest.raises(BadImage) as refused:
        await local(ManyImages(), preparer=decoder, uris=OnePage(b"a")).of(job)

    assert refused.value.sha256 == ref(b"a").sha256


async def test_images_that_no_provider_would_take_together_are_refused() -> None:
    web = OnePage(bytes(MAX_BYTES_A_JOB // 2 + 1))
    image = ImageRef(sha256="", mime_type="", uri="https://images.example/a")

    with pytest.raises(BadImage, match="together"):
        await local(ManyImages(), uris=web).of(assignment(images=(image, image)))


def test_a_decoding_that_takes_longer_than_the_call_may_is_given_up() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await local(ManyImages(), preparer=SlowDecoder()).of(assignment())

    run(main())
