"""Images whose bytes are not in the database: no crash leaves one without bytes, or bytes that nobody knows of."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from image_places import BucketLook, Look, bucket, objects_in, place
from stores import CLIENT, IMAGE, IMAGE_REF, NEW_IMAGE, claim, insert, new_job, success
from test_purge_races import hooked, once

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from scheduler.errors import ImageStoreUnusable, StoreUnavailable
from scheduler.object_images.objects import ObjectImages
from scheduler.postgres.images import _TAKE_NOTES, ImageKeeping
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import Purged

__all__ = ["bucket", "place"]

HASHES = [IMAGE_REF.sha256]


class Crash(Exception):
    """Stands for the end of the process at that moment."""


class Hooked(ObjectImages):
    """Does something before or after bytes are put or removed."""

    before_put: Callable[[], Awaitable[None]] | None = None
    after_put: Callable[[], Awaitable[None]] | None = None
    before_remove: Callable[[], Awaitable[None]] | None = None
    after_remove: Callable[[], Awaitable[None]] | None = None

    async def put(self, address: str, data: bytes) -> None:
        await _happen(self.before_put)
        await super().put(address, data)
        await _happen(self.after_put)

    async def remove(self, addresses: Sequence[str]) -> Collection[str]:
        await _happen(self.before_remove)
        gone = await super().remove(addresses)
        await _happen(self.after_remove)
        return gone


async def _happen(hook: Callable[[], Awaitable[None]] | None) -> None:
    if hook is not None:
        await hook()


async def crash() -> None:
    raise Crash


def hooked_objects(home: str) -> Hooked:
    return Hooked(home, randomness=SystemRandomness())


@contextlib.asynccontextmanager
async def opened(url: str, objects: ObjectImages | None) -> AsyncIterator[PostgresStore]:
    async with open_store(url, clock=SystemClock(), images=ImageKeeping(objects=objects)) as store:
        yield store


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def keys(url: str) -> tuple[set[str], set[str]]:
    """Return the addresses that images name, and those that are noted."""
    async with looking(url) as connection:
        named = await connection.fetch("SELECT object_key FROM images WHERE object_key IS NOT NULL")
        noted = await connection.fetch("SELECT object_key FROM image_objects")
    return {row["object_key"] for row in named}, {row["object_key"] for row in noted}


async def pass_time(url: str, hours: int) -> None:
    async with looking(url) as connection:
        age = datetime.timedelta(hours=hours)
        await connection.execute("UPDATE image_objects SET remove_time = remove_time - $1::interval", age)
        await connection.execute("UPDATE images SET expire_time = expire_time - $1::interval", age)


async def check_consistent(url: str, look: Look) -> None:
    """Hold that every image has its bytes, and that every object is named or noted."""
    named, noted = await keys(url)
    assert named <= look.objects().keys() <= named | noted
    assert not named & noted


async def check_no_orphans_at_last(url: str, store: PostgresStore, look: Look) -> None:
    await check_consistent(url, look)
    await pass_time(url, 2)
    await store.remove_objects()
    named, noted = await keys(url)
    assert noted == set()
    assert look.objects().keys() == named


async def test_the_bytes_are_in_the_place_and_what_is_known_is_in_the_database(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])

        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}
        assert await store.find_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE_REF}
        assert await store.get_images("another", HASHES) == {}
        await insert(store, CLIENT, [new_job(store.time, images=(IMAGE_REF,))])

    assert list(place.objects().values()) == [IMAGE]
    async with looking(store_url) as connection:
        assert await connection.fetchval("SELECT data FROM images") is None
        assert await connection.fetchval("SELECT object_key FROM images") in place.objects()
    assert (await keys(store_url))[1] == set()


async def test_an_image_that_is_known_is_not_written_again(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        for _ in range(3):
            await store.put_images(CLIENT, [NEW_IMAGE, NEW_IMAGE])

    assert len(place.objects()) == 1


async def test_without_a_place_no_object_is_made(store_url: str, place: Look) -> None:
    async with opened(store_url, objects_in("")) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}

    assert place.objects() == {}
    assert await keys(store_url) == (set(), set())


async def test_images_stay_readable_when_the_setting_changes_and_changes_back(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in("")) as store:
        await store.put_images("in the database", [NEW_IMAGE])
    async with opened(store_url, objects_in(place.home)) as store:
        await store.put_images("in the database", [NEW_IMAGE])
        await store.put_images("in the place", [NEW_IMAGE])
        assert len(place.objects()) == 1
    async with opened(store_url, objects_in("")) as store:
        await store.put_images("in the place", [NEW_IMAGE])
        for client_id in ("in the database", "in the place"):
            assert await store.get_images(client_id, HASHES) == {IMAGE_REF.sha256: IMAGE}
        await pass_time(store_url, 30)
        assert await store.collect_images(store.time.now()) == 2
        assert await store.remove_objects() == (1, 0)

    assert place.objects() == {}


@pytest.mark.parametrize("moment", ["before_put", "after_put"])
async def test_a_crash_around_the_write_leaves_no_image_and_no_orphan(place: Look, store_url: str, moment: str) -> None:
    async with opened(store_url, objects_in(place.home)) as other:
        objects = hooked_objects(place.home)
        async with opened(store_url, objects) as store:
            setattr(objects, moment, crash)
            with pytest.raises(ExceptionGroup):
                await store.put_images(CLIENT, [NEW_IMAGE])

        assert await other.find_images(CLIENT, HASHES) == {}
        assert await other.remove_objects() == (0, 0)
        await check_no_orphans_at_last(store_url, other, place)


@pytest.mark.parametrize(
    "statement", ["INSERT INTO image_objects", "DELETE FROM image_objects", "INSERT INTO images", "UPDATE images"]
)
async def test_a_crash_before_each_statement_leaves_no_image_without_bytes_and_no_orphan(
    place: Look, store_url: str, statement: str
) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        crashing = hooked(store, once(statement, crash))
        crashing._keep_images(ImageKeeping(objects=objects_in(place.home)))
        with pytest.raises(Crash):
            await crashing.put_images(CLIENT, [NEW_IMAGE])

        assert await store.find_images(CLIENT, HASHES) == {}
        await check_no_orphans_at_last(store_url, store, place)
        await store.put_images(CLIENT, [NEW_IMAGE])
        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}


async def test_a_crash_after_an_object_was_removed_leaves_a_note_that_the_next_removal_ends(
    place: Look, store_url: str
) -> None:
    objects = hooked_objects(place.home)
    async with opened(store_url, objects) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        await pass_time(store_url, 30)
        await store.collect_images(store.time.now())
        objects.after_remove = crash
        with pytest.raises(Crash):
            await store.remove_objects()
        await check_consistent(store_url, place)
        objects.after_remove = None

        assert await store.remove_objects() == (1, 0)

    assert await keys(store_url) == (set(), set())


async def test_of_two_writes_of_one_image_the_second_object_goes(place: Look, store_url: str) -> None:
    objects = hooked_objects(place.home)
    async with opened(store_url, objects) as store, opened(store_url, objects_in(place.home)) as other:

        async def put_too() -> None:
            await other.put_images(CLIENT, [NEW_IMAGE])

        objects.after_put = put_too
        await store.put_images(CLIENT, [NEW_IMAGE])

        await check_consistent(store_url, place)
        assert len(place.objects()) == 2
        assert await store.remove_objects() == (1, 0)
        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}


async def test_a_write_that_took_too_long_names_no_object_that_is_being_removed(place: Look, store_url: str) -> None:
    objects = hooked_objects(place.home)
    async with opened(store_url, objects) as store, opened(store_url, objects_in(place.home)) as other:

        async def collect() -> None:
            await pass_time(store_url, 2)
            await other.remove_objects()

        objects.after_put = collect
        with pytest.raises(StoreUnavailable):
            await store.put_images(CLIENT, [NEW_IMAGE])
        assert await store.find_images(CLIENT, HASHES) == {}

        objects.after_put = None
        await store.put_images(CLIENT, [NEW_IMAGE])
        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}
        await check_no_orphans_at_last(store_url, store, place)


async def test_a_purge_takes_the_object_along_at_once(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        await insert(store, CLIENT, [new_job(store.time, images=(IMAGE_REF,))])
        [job] = await claim(store)
        await store.finish([success(job.attempt_id, store.time)])

        assert await store.purge_user(CLIENT, "user") == Purged(jobs=1, results=1, images=1)
        await check_consistent(store_url, place)
        assert await store.remove_objects() == (1, 0)

    assert place.objects() == {}
    assert await keys(store_url) == (set(), set())


async def test_objects_of_a_place_that_is_away_are_left_for_later(
    store_url: str, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = BucketLook(bucket)
    async with opened(store_url, objects_in(look.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        await pass_time(store_url, 30)
        await store.collect_images(store.time.now())
        bucket.refusals["DELETE"] = (403, "AccessDenied")
        assert await store.remove_objects() == (0, 1)

        bucket.refusals.clear()
        assert await store.remove_objects() == (1, 0)

    assert look.objects() == {}


async def test_many_objects_are_removed_page_by_page(store_url: str, place: Look) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        async with looking(store_url) as connection:
            await connection.execute(
                "INSERT INTO image_objects SELECT $1 || '/aB' || n || '/x-Y' || n, '-infinity'"
                " FROM generate_series(1, 450) n",
                place.home,
            )

        assert await store.remove_objects() == (450, 0)

    assert await keys(store_url) == (set(), set())


async def test_an_image_whose_bytes_somebody_took_is_forgotten_so_that_it_can_be_sent_again(
    place: Look, store_url: str
) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        place.drop()
        # A dispatch only looks.
        assert await store.get_images(CLIENT, HASHES, within=datetime.timedelta(seconds=5)) == {}
        assert await store.find_images(CLIENT, HASHES) != {}

        assert await store.get_images(CLIENT, HASHES) == {}
        assert await store.find_images(CLIENT, HASHES) == {}

        await store.put_images(CLIENT, [NEW_IMAGE])
        assert await store.get_images(CLIENT, HASHES) == {IMAGE_REF.sha256: IMAGE}


async def test_a_place_that_is_away_is_told_to_whoever_stores_and_reads(bucket: Any, store_url: str) -> None:
    async with opened(store_url, objects_in(BucketLook.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        bucket.refusals.update(PUT=(503, "SlowDown"), GET=(503, "SlowDown"))

        with pytest.raises(StoreUnavailable):
            await store.get_images(CLIENT, HASHES)
        with pytest.raises(StoreUnavailable):
            await store.put_images("another", [NEW_IMAGE])


async def test_a_dispatch_waits_for_a_place_no_longer_than_it_says(bucket: Any, store_url: str) -> None:
    async with opened(store_url, objects_in("")) as database:
        await database.put_images("first", [NEW_IMAGE])
    async with opened(store_url, objects_in(BucketLook.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])
        bucket.silent.add("GET")
        async with asyncio.timeout(5):
            for within in (0.05, 0.0):
                moment = datetime.timedelta(seconds=within)
                assert await store.get_images(CLIENT, HASHES, within=moment) == {}
                # What is in the database needs no place.
                assert await store.get_images("first", HASHES, within=moment) == {IMAGE_REF.sha256: IMAGE}


async def test_a_program_without_places_reads_no_image_of_one(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in(place.home)) as store:
        await store.put_images(CLIENT, [NEW_IMAGE])

    async with opened(store_url, None) as store:
        with pytest.raises(StoreUnavailable):
            await store.get_images(CLIENT, HASHES)
        assert await store.remove_objects() == (0, 0)


async def test_the_place_is_tried_at_the_start_and_nothing_stays_of_that(place: Look, store_url: str) -> None:
    async with opened(store_url, objects_in(place.home)):
        pass

    assert place.objects() == {}
    assert await keys(store_url) == (set(), set())


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_bucket_that_refuses_anything_is_told_at_the_start_with_the_setting(
    bucket: Any, store_url: str, method: str
) -> None:
    bucket.refusals[method] = (403, "AccessDenied")

    with pytest.raises(
        ImageStoreUnusable, match=r"^The setting SCHEDULER_IMAGE_STORE is wrong: .*s3://images/some/pre"
    ):
        async with opened(store_url, objects_in(BucketLook.home)):
            pass
    bucket.refusals.clear()

    async with opened(store_url, objects_in(BucketLook.home)) as store:
        await check_no_orphans_at_last(store_url, store, BucketLook(bucket))


async def test_an_object_that_is_being_removed_is_given_to_no_image_however_early_its_writer_looked(
    store_url: str, tmp_path: Path
) -> None:
    objects = hooked_objects(f"file://{tmp_path}")
    await objects.prepare()
    address = objects.new_address(CLIENT, IMAGE_REF.sha256)
    taken: list[asyncpg.Record] = []
    async with opened(store_url, objects) as store, looking(store_url) as writer, looking(store_url) as other:

        async def take() -> None:
            taken.extend(await writer.fetch(_TAKE_NOTES, [address]))

        objects.before_remove = take
        async with writer.transaction():
            await writer.execute("SELECT now()")
            # Overdue for whoever looks now, but not for the writer, whose time has stood still since.
            await other.execute("INSERT INTO image_objects VALUES ($1, clock_timestamp())", address)

            assert await store.remove_objects() == (1, 0)

    assert taken == []
