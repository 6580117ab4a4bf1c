import asyncio
import datetime

from scheduler_peers import dial
from scheduler_world import OTHER_LANE, OTHER_MODEL, World, fail_times, looping, settle
from stores import CLIENT, IMAGE, IMAGE_REF, LANE, NEW_IMAGE, insert, new_job, submit

from devkit.virtual_time import in_virtual_time
from policies.quota import Limits
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Assignment
from scheduler.jobs import ImageRef, JobState, NewImage, Stage
from scheduler.records import Heads
from scheduler.rpc import work_mapping


@in_virtual_time
async def test_a_woken_dispatcher_hands_out_the_best_jobs_up_to_the_credit() -> None:
    world = World()
    executor = await dial(world, slots=2)
    low, high, normal = await submit(world.store, world.clock, 3, 1, 2)
    async with looping(world.dispatcher.run):
        jobs = await executor.hear(Assignment, 2)

    assert [item.job.attempt_id.job_id for item in jobs] == [high, normal]
    assert executor.session.free_slots == 0
    assert (await world.see(low)).state is JobState.QUEUED


@in_virtual_time
async def test_small_images_go_along() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    await insert(world.store, CLIENT, [new_job(world.clock, images=(IMAGE_REF,))])
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert assignment.images == {IMAGE_REF.sha256: IMAGE}


@in_virtual_time
async def test_of_many_small_images_as_many_go_along_as_a_message_has_room_for() -> None:
    world = World()
    executor = await dial(world, slots=1)
    images = [
        NewImage(ref=ImageRef(sha256=f"{number:064}", mime_type="image/png", size=60_000), data=bytes(60_000))
        for number in range(16)
    ]
    await world.store.put_images(CLIENT, images)
    refs = tuple(image.ref for image in images)
    await world.store.insert_jobs(CLIENT, [new_job(world.clock, images=(refs[0], *refs), prompt="x" * 256 * 1024)])
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)
    [message] = work_mapping.downlinks([assignment])

    assert [*assignment.images] == [ref.sha256 for ref in refs[:4]]
    assert len(message.assignments[0].spec.images) == 17
    assert message.ByteSize() < 1024 * 1024


@in_virtual_time
async def test_jobs_go_out_without_their_images_when_the_store_is_gone_after_the_claim() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    await insert(world.store, CLIENT, [new_job(world.clock, images=(IMAGE_REF,))])
    world.store.before["get_images"] = fail_times(1)
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert assignment.images == {}


@in_virtual_time
async def test_an_assignment_says_how_long_it_may_wait_for_its_start() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await world.store.insert_jobs(
        CLIENT, [new_job(world.clock, expire_time=world.clock.now() + datetime.timedelta(seconds=30))]
    )
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert assignment.start_within == datetime.timedelta(seconds=30)


@in_virtual_time
async def test_jobs_are_spread_over_the_executors() -> None:
    world = World()
    first, second = await dial(world, "e1", slots=3), await dial(world, "e2", slots=3)
    await submit(world.store, world.clock, *[2] * 4)
    async with looping(world.dispatcher.run):
        await first.hear(Assignment, 2)
        await second.hear(Assignment, 2)


@in_virtual_time
async def test_the_better_head_of_two_lanes_goes_first() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await world.store.insert_jobs(
        CLIENT, [new_job(world.clock, priority=2), new_job(world.clock, priority=1, model=OTHER_MODEL)]
    )
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.lane == OTHER_LANE


@in_virtual_time
async def test_jobs_of_several_lanes_go_out_in_the_order_of_their_submission() -> None:
    world = World()
    executor = await dial(world, slots=3)
    models = ["gemini-3.8-flash", OTHER_MODEL] * 3
    ids = await insert(world.store, CLIENT, [new_job(world.clock, model=model) for model in models])

    async with looping(world.dispatcher.run):
        first = await executor.receive(3)
        await executor.offer(3)
        then = await executor.receive(3)

    assert sorted(attempt.job_id for attempt in first) == sorted(ids[:3])
    assert sorted(attempt.job_id for attempt in then) == sorted(ids[3:])


@in_virtual_time
async def test_a_lane_that_nobody_serves_holds_up_no_other() -> None:
    world = World()
    executor = await dial(world, slots=1, lanes=(LANE,))
    await world.store.insert_jobs(
        CLIENT, [new_job(world.clock, priority=1, model=OTHER_MODEL), new_job(world.clock, priority=3)]
    )
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.lane == LANE


@in_virtual_time
async def test_a_lane_that_gives_less_than_it_seemed_to_have_is_left_alone() -> None:
    world = World()
    executor = await dial(world, slots=8)
    await world.set_lane(limits=Limits(max_in_flight=2))
    await submit(world.store, world.clock, *[2] * 5)
    async with looping(world.dispatcher.run):
        await executor.hear(Assignment, 2)
        await settle()
        asked = world.store.calls["lane_heads"]
        await world.clock.sleep(0.4)

        # Slots are left and jobs wait, but nothing is asked before the next poll.
        assert world.store.calls["lane_heads"] == asked
    assert executor.session.free_slots == 6


@in_virtual_time
async def test_a_head_that_nobody_can_claim_ends_the_deal_and_holds_up_no_other_lane() -> None:
    world = World()
    executor = await dial(world, slots=2)
    await world.store.insert_jobs(
        CLIENT, [new_job(world.clock, priority=1), new_job(world.clock, priority=2, model=OTHER_MODEL)]
    )
    # The lane closes between the look and the claim, again and again.
    world.store.after["lane_heads"] = lambda: world.set_lane(paused=True)
    world.store.before["lane_heads"] = lambda: world.set_lane()
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)
        await settle()
        claims = world.store.calls["claim"]
        await world.clock.sleep(0.4)

        assert world.store.calls["claim"] == claims
    assert assignment.job.lane == OTHER_LANE


@in_virtual_time
async def test_a_database_outage_only_delays() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock)
    world.store.before["lane_heads"] = fail_times(2)
    async with looping(world.dispatcher.run):
        await executor.hear(Assignment)

    assert world.clock.monotonic() < 3


@in_virtual_time
async def test_slots_that_found_no_job_are_free_again() -> None:
    world = World()
    executor = await dial(world, slots=3)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await executor.hear(Assignment)
        await settle()

    assert executor.session.free_slots == 2


@in_virtual_time
async def test_a_job_claimed_for_a_stream_that_broke_meanwhile_goes_to_another() -> None:
    world = World()
    gone = await dial(world, "e1", slots=1)
    await submit(world.store, world.clock)
    world.store.after["claim"] = lambda: world.work.close(gone.session)
    async with looping(world.dispatcher.run):
        await world.clock.sleep(0.1)
        other = await dial(world, "e2", slots=1)
        [assignment] = await other.hear(Assignment)

    assert assignment.job.attempt_id.attempt == 2


@in_virtual_time
async def test_a_claim_that_failed_ends_its_streams_so_that_a_hello_brings_back_what_it_took() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    world.store.after["claim"] = fail_times(1, StoreUnavailable("the answer was lost"))
    async with looping(world.dispatcher.run):
        await world.clock.sleep(0.1)
        assert executor.session.outbox.closed_because
        assert not world.fleet.has_credit
        assert (await world.see(job_id)).state is JobState.RUNNING

        again = await dial(world, slots=1)
        [assignment] = await again.hear(Assignment)

    assert (assignment.job.attempt_id.job_id, assignment.job.attempt_id.attempt) == (job_id, 2)


@in_virtual_time
async def test_watchers_hear_that_an_attempt_starts() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert world.hub.entered == [(assignment.job.attempt_id, Stage.STARTING)]


@in_virtual_time
async def test_a_thorough_look_is_owed_until_there_is_credit() -> None:
    world = World()
    executor = await dial(world, slots=0)
    looks: list[bool] = []
    sound = world.store.lane_heads

    async def noting(*, thorough: bool) -> Heads:
        looks.append(thorough)
        return await sound(thorough=thorough)

    world.dispatcher._store.lane_heads = noting  # type: ignore[method-assign]
    async with looping(world.dispatcher.run):
        await asyncio.sleep(6)
        assert looks == []
        await executor.offer(1)
        await settle()

    assert looks == [True]
