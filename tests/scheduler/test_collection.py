"""When images are collected: seldom, one scheduler at a time, and at once what a purge left outside of the database."""

import datetime

import pytest
from scheduler_peers import TRACEPARENT
from scheduler_world import World, looping, settle
from stores import CLIENT, IMAGE_REF, NEW_IMAGE, claim, failure, insert, new_job

from devkit.virtual_time import VirtualClock, in_virtual_time
from scheduler.collection import Collection
from scheduler.errors import ImagesGone, StoreUnavailable
from scheduler.rpc.errors import translate

HOURS = 3600.0
CALLS = ("renew_images", "collect_images", "remove_objects")


class FakeStore:
    """Notes what is asked of it; a look takes `look_seconds`, and `left` objects cannot be removed."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.calls: list[tuple[str, float]] = []
        self.look_seconds = 0.0
        self.is_free = True
        self.left = 0
        self.fails: list[str] = []

    def of(self, name: str) -> list[float]:
        return [round(moment) for called, moment in self.calls if called == name]

    async def renew_images(self) -> datetime.datetime | None:
        self._call("renew_images")
        await self._clock.sleep(self.look_seconds)
        return self._clock.now() if self.is_free else None

    async def collect_images(self, expired_before: datetime.datetime) -> int:
        self._call("collect_images")
        return 0

    async def remove_objects(self) -> tuple[int, int]:
        self._call("remove_objects")
        return 0, self.left

    def _call(self, name: str) -> None:
        self.calls.append((name, self._clock.monotonic()))
        if name in self.fails:
            self.fails.remove(name)
            raise StoreUnavailable("away")


async def run_for(store: FakeStore, clock: VirtualClock, seconds: float) -> Collection:
    collection = Collection(store=store, clock=clock)
    async with looping(collection.run):
        await clock.sleep(seconds)
    return collection


@in_virtual_time
async def test_images_are_collected_every_ten_minutes() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)

    await run_for(store, clock, 1_900)

    for name in CALLS:
        assert store.of(name) == [60, 660, 1_260, 1_860]


@in_virtual_time
async def test_a_look_that_takes_long_is_taken_seldom() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)
    store.look_seconds = 60

    await run_for(store, clock, 12_500)

    assert store.of("renew_images") == [60, 6_060, 12_060]


@in_virtual_time
async def test_while_another_scheduler_looks_nothing_is_collected_but_objects_are_removed() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)
    store.is_free = False

    await run_for(store, clock, 100)

    assert [name for name, _ in store.calls] == ["renew_images", "remove_objects"]


@in_virtual_time
async def test_a_purge_has_objects_removed_at_once_and_nothing_else() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)
    collection = Collection(store=store, clock=clock)

    async with looping(collection.run):
        await clock.sleep(5)
        collection.wake()
        await settle()

    assert [name for name, _ in store.calls] == ["remove_objects"]
    assert store.of("remove_objects") == [5]


@in_virtual_time
async def test_objects_that_could_not_be_removed_are_tried_each_minute_and_nothing_else_is() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)
    store.left = 1

    await run_for(store, clock, 250)

    assert store.of("remove_objects") == [60, 120, 180, 240]
    assert store.of("renew_images") == [60]


@in_virtual_time
async def test_an_outage_ends_nothing() -> None:
    clock = VirtualClock()
    store = FakeStore(clock)
    store.fails = ["renew_images", "remove_objects"]

    await run_for(store, clock, 700)

    assert store.of("renew_images") == [60, 660]
    assert store.of("remove_objects") == [120, 180, 660]


@in_virtual_time
async def test_a_purge_of_a_user_wakes_the_collection() -> None:
    world = World()

    async with looping(world.collection.run):
        await settle()
        await world.purge.user(CLIENT, "user")
        await settle()

    assert world.store.calls["remove_objects"] == 1


@in_virtual_time
async def test_a_job_whose_images_were_collected_cannot_be_done_again() -> None:
    world = World()
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    ended = new_job(world.clock, images=(IMAGE_REF,))
    await insert(world.store, CLIENT, [ended])
    [job] = await claim(world.store, 1)
    await world.store.finish([failure(job.attempt_id, world.clock)])

    async with looping(world.collection.run):
        await world.clock.sleep(23 * HOURS)
        again, _ = await world.again.job(CLIENT, ended.job_id, request_id="", traceparent=TRACEPARENT)
        # It keeps the image while it waits, and lets go of it then.
        await world.clock.sleep(60 * HOURS)
        assert (await world.store.get_images(CLIENT, [IMAGE_REF.sha256])) != {}
        await world.store.cancel(CLIENT, [again])
        await world.clock.sleep(25 * HOURS)

    with pytest.raises(ImagesGone) as refusal:
        await world.again.job(CLIENT, ended.job_id, request_id="", traceparent=TRACEPARENT)
    status = translate(refusal.value)
    assert status is not None
    assert (status.code.name, status.reason) == ("FAILED_PRECONDITION", "IMAGES_GONE")
    assert (await world.store.get_images(CLIENT, [IMAGE_REF.sha256])) == {}
