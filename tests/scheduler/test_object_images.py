"""The bytes of images in a bucket and in a directory."""

import asyncio
import stat
from pathlib import Path

import pytest
from bucket_server import ACCESS_KEY, BucketServer
from image_places import SECRET, DirectoryLook, Look, bucket, objects_in, place

from scheduler.errors import ImageStoreUnusable, StoreUnavailable
from scheduler.object_images import objects as bounds

__all__ = ["bucket", "place"]

SHA256 = "ab" * 32
HOME = "s3://images/prefix"


async def test_what_was_put_is_there_under_its_address_and_goes_when_it_is_removed(place: Look) -> None:
    images = objects_in(place.home)
    await images.prepare()
    address = images.new_address("a client", SHA256)

    await images.put(address, b"bytes")

    assert place.objects() == {address: b"bytes"}
    assert await images.get(address) == b"bytes"
    assert await images.remove([address]) == {address}
    assert place.objects() == {}
    assert await images.get(address) is None


async def test_an_object_of_20_mib_goes_in_one_piece(place: Look) -> None:
    images = objects_in(place.home)
    await images.prepare()
    data = bytes(range(256)) * 4096 * 20
    address = images.new_address("c", SHA256)

    await images.put(address, data)

    assert await images.get(address) == data
    assert list(place.objects()) == [address]


async def test_what_is_not_there_is_removed_all_the_same(place: Look) -> None:
    images = objects_in(place.home)
    await images.prepare()
    addresses = [images.new_address("c", SHA256) for _ in range(40)]

    assert await images.remove(addresses) == {*addresses}


async def test_an_address_says_where_the_bytes_are_whatever_the_setting_says(place: Look) -> None:
    before = objects_in(place.home)
    await before.prepare()
    address = before.new_address("c", SHA256)
    await before.put(address, b"bytes")

    after = objects_in("")

    assert not after.are_wanted
    assert await after.get(address) == b"bytes"
    assert await after.remove([address]) == {address}


def test_addresses_tell_no_client_and_are_never_the_same() -> None:
    images = objects_in(HOME)

    first, second = (images.new_address("shop/../é", SHA256) for _ in range(2))

    assert first != second
    place, client, name = first.rsplit("/", 2)
    assert place == HOME
    assert (len(client), name[:65]) == (16, f"{SHA256}-")
    assert "shop" not in first


@pytest.mark.parametrize(
    ("method", "refusal", "told"),
    [
        ("PUT", (403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
        ("PUT", (404, "NoSuchBucket"), "NoSuchBucket"),
        ("PUT", (503, "SlowDown"), "SlowDown"),
        ("GET", (403, "AccessDenied"), "AccessDenied"),
        ("GET", (404, "NoSuchBucket"), "NoSuchBucket"),
    ],
)
async def test_a_bucket_that_refuses_is_away_and_no_credential_is_told(
    bucket: BucketServer, method: str, refusal: tuple[int, str], told: str
) -> None:
    bucket.refusals[method] = refusal
    images = objects_in(HOME)
    address = images.new_address("c", SHA256)

    with pytest.raises(StoreUnavailable) as caught:
        await (images.put(address, b"bytes") if method == "PUT" else images.get(address))

    assert str(caught.value) == f"The images in {HOME} are away: {told}."
    assert ACCESS_KEY not in repr(caught.value)
    assert SECRET not in repr(caught.value)


async def test_a_bucket_that_nobody_serves_is_away(monkeypatch: pytest.MonkeyPatch, bucket: BucketServer) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    images = objects_in(HOME)

    with pytest.raises(StoreUnavailable, match="no answer"):
        await images.put(images.new_address("c", SHA256), b"bytes")


async def test_variables_that_make_no_sense_are_told_with_the_setting_and_without_their_values(
    monkeypatch: pytest.MonkeyPatch, bucket: BucketServer
) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", SECRET)

    with pytest.raises(ImageStoreUnusable, match=r"SCHEDULER_IMAGE_STORE .*the AWS_ variables") as refusal:
        await objects_in(HOME).prepare()
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_bucket_that_never_answers_is_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch, bucket: BucketServer, method: str
) -> None:
    monkeypatch.setattr(bounds, "_CALL_SECONDS", 0.2)
    bucket.silent.add(method)
    images = objects_in(HOME)
    address = images.new_address("c", SHA256)

    if method == "DELETE":
        assert await images.remove([address]) == set()
        return
    with pytest.raises(StoreUnavailable, match="it takes too long"):
        await (images.put(address, b"bytes") if method == "PUT" else images.get(address))


async def test_a_bucket_that_is_away_is_asked_few_times_for_many_removals(bucket: BucketServer) -> None:
    bucket.refusals["DELETE"] = (403, "AccessDenied")
    images = objects_in(HOME)

    assert await images.remove([images.new_address("c", SHA256) for _ in range(200)]) == set()

    assert len(bucket.called) < 40


async def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "made" / "images"
    images = objects_in(f"file://{root}")

    await images.prepare()
    address = images.new_address("c", SHA256)
    await images.put(address, b"bytes")

    file = Path(address.removeprefix("file://"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_directory_with_odd_characters_in_its_name_is_meant(tmp_path: Path) -> None:
    images = objects_in(f"file://{tmp_path}/a%20b")

    await images.prepare()

    assert (tmp_path / "a b").is_dir()


async def test_a_place_that_cannot_be_a_directory_is_told_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ImageStoreUnusable, match=r"SCHEDULER_IMAGE_STORE is wrong: .*Not a directory"):
        await objects_in(f"file://{tmp_path}/file/images").prepare()


async def test_while_a_directory_is_not_mounted_nothing_seems_lost_and_nothing_is_written(tmp_path: Path) -> None:
    root = tmp_path / "images"
    images = objects_in(f"file://{root}")
    await images.prepare()
    address = images.new_address("c", SHA256)
    await images.put(address, b"bytes")
    root.rename(tmp_path / "elsewhere")
    root.mkdir()

    with pytest.raises(StoreUnavailable):
        await images.get(address)
    with pytest.raises(StoreUnavailable):
        await images.put(images.new_address("c", SHA256), b"bytes")
    assert await images.remove([address]) == set()

    assert list(root.iterdir()) == []


async def test_what_a_crash_left_of_a_file_goes_with_it(tmp_path: Path) -> None:
    look = DirectoryLook(tmp_path / "images")
    images = objects_in(look.home)
    await images.prepare()
    address = images.new_address("c", SHA256)
    await images.put(address, b"bytes")
    file = Path(address.removeprefix("file://"))
    file.rename(file.with_name(f"{file.name}.part"))

    assert await images.get(address) is None
    assert await images.remove([address]) == {address}

    assert look.objects() == {}


async def test_whoever_gives_up_leaves_the_others_their_turns(
    monkeypatch: pytest.MonkeyPatch, bucket: BucketServer
) -> None:
    monkeypatch.setattr(bounds, "_READS", 2)
    images = objects_in(HOME)
    address = images.new_address("c", SHA256)
    await images.put(address, b"bytes")
    bucket.silent.add("GET")
    reads = [asyncio.ensure_future(images.get(address)) for _ in range(5)]
    while bucket.called.count("GET") < 2:
        await asyncio.sleep(0)
    for read in reads:
        read.cancel()
    bucket.silent.clear()

    assert await images.get(address) == b"bytes"
    assert all(
        isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*reads, return_exceptions=True)
    )
