import datetime

import pytest
from scheduler_peers import dial, submission
from scheduler_world import OTHER_LANE, World, looping, settle
from stores import CLIENT, LANE, submit

from devkit.virtual_time import EPOCH, in_virtual_time
from policies.breaker import Breaker
from policies.quota import VALIDITY, Limits, Pace
from scheduler.errors import InvalidRequest, LaneNotFound, NotAccepting
from scheduler.fleet import Assignment
from scheduler.lanes import Lane
from scheduler.operate import ALL_LANES, MAX_LIMIT, with_limits
from scheduler.records import LaneLoad


def seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


async def with_lanes() -> World:
    world = World()
    await world.store.add_lanes([LANE, OTHER_LANE])
    return world


@in_virtual_time
async def test_lanes_are_listed_by_name_with_what_waits_and_runs_there() -> None:
    world = await with_lanes()
    executor = await dial(world, slots=1)
    await submit(world.store, world.clock, 2, 2, 2)
    async with looping(world.dispatcher.run):
        await executor.receive()

    views = await world.operate.lanes()

    assert [(view.lane.name, view.load) for view in views] == [
        (OTHER_LANE, LaneLoad()),
        (LANE, LaneLoad(waiting=2, running=1)),
    ]


@in_virtual_time
async def test_a_limit_is_set_kept_and_taken_away() -> None:
    world = await with_lanes()

    await world.operate.update(LANE, {"requests_per_minute": 60, "max_in_flight": 5})
    view = await world.operate.update(LANE, {"max_in_flight": 0, "dollars_per_10_minutes": 2.5})

    expected = Limits(requests_per_minute=60, dollars_per_10_minutes=2.5)
    assert view.lane.limits == expected
    assert (await world.lane()).limits == expected
    assert world.board.lane(LANE).limits == expected
    assert (await world.lane(OTHER_LANE)).limits == Limits()
    assert world.signals.announced > 0


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 2.0 * MAX_LIMIT])
@in_virtual_time
async def test_a_limit_that_is_none_is_refused_with_its_path(value: float) -> None:
    world = await with_lanes()

    with pytest.raises(InvalidRequest) as refusal:
        await world.operate.update(LANE, {"dollars_per_10_minutes": value, "max_in_flight": 3})

    assert [violation.path for violation in refusal.value.violations] == ["dollars_per_10_minutes"]
    assert (await world.lane()).limits == Limits()


@in_virtual_time
async def test_jobs_are_counted_once_for_a_change_of_all_lanes() -> None:
    world = await with_lanes()

    views = await world.operate.pause(ALL_LANES)

    assert [view.lane.paused for view in views] == [True, True]
    assert world.store.calls["lane_loads"] == 1


@in_virtual_time
async def test_limits_are_not_changed_for_all_lanes_at_once() -> None:
    world = await with_lanes()

    with pytest.raises(LaneNotFound):
        await world.operate.update(ALL_LANES, {"max_in_flight": 1})


@in_virtual_time
async def test_a_lane_that_nobody_knows_is_not_made() -> None:
    world = await with_lanes()

    for change in (
        world.operate.update("gemini/none", {}),
        world.operate.pause("gemini/none"),
        world.operate.resume("gemini/none"),
        world.operate.reset_breaker("gemini/none"),
    ):
        with pytest.raises(LaneNotFound):
            await change

    assert len(await world.store.lanes()) == 2


@in_virtual_time
async def test_a_paused_lane_gives_out_nothing_until_it_is_resumed() -> None:
    world = await with_lanes()
    executor = await dial(world, slots=1)
    await world.operate.pause(LANE)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await world.clock.sleep(30)
        assert await executor.has_heard(Assignment) == []
        begun = world.clock.monotonic()
        [view] = await world.operate.resume(LANE)
        await executor.hear(Assignment)

    assert not view.lane.paused
    assert world.clock.monotonic() - begun < 0.1


@in_virtual_time
async def test_a_star_pauses_and_resumes_all_lanes() -> None:
    world = await with_lanes()

    assert [view.lane.paused for view in await world.operate.pause("*")] == [True, True]
    assert [lane.paused for lane in await world.store.lanes()] == [True, True]
    assert [view.lane.paused for view in await world.operate.resume("*")] == [False, False]


@in_virtual_time
async def test_resuming_ends_a_stop_too() -> None:
    world = await with_lanes()
    await world.set_lane(stopped_reason="Billing is depleted.")

    await world.operate.resume(LANE)

    assert (await world.lane()).closure(world.clock.now()) is None


@in_virtual_time
async def test_a_breaker_that_is_reset_lets_jobs_through_at_once() -> None:
    world = await with_lanes()
    await world.set_lane(breaker=Breaker(failures=5, open_until=EPOCH + seconds(300)))
    executor = await dial(world, slots=2)
    await submit(world.store, world.clock, 2, 2)
    async with looping(world.dispatcher.run):
        await settle()
        view = await world.operate.reset_breaker(LANE)
        await executor.hear(Assignment, 2)

    assert view.lane.breaker == Breaker()
    assert world.clock.monotonic() < 0.1


@in_virtual_time
async def test_submissions_are_refused_and_taken_again() -> None:
    world = World()

    await world.operate.set_accepting(accepting=False)
    with pytest.raises(NotAccepting):
        await world.submit.jobs(CLIENT, [submission()])
    with pytest.raises(NotAccepting):
        await world.submit.image(CLIENT, b"", "")
    assert not await world.store.is_accepting()

    await world.operate.set_accepting(accepting=True)
    assert len(await world.submit.jobs(CLIENT, [submission()])) == 1


@in_virtual_time
async def test_another_scheduler_knows_of_a_closed_door_after_its_next_look() -> None:
    world = World()
    await world.store.set_accepting(accepting=False)
    assert world.board.is_accepting

    await world.board.refresh()

    assert not world.board.is_accepting


@in_virtual_time
async def test_what_changes_during_a_look_is_not_undone_by_it() -> None:
    world = await with_lanes()

    async def change() -> None:
        world.store.after.clear()
        await world.operate.set_accepting(accepting=False)
        await world.operate.pause(LANE)

    for name in ("served_lanes", "is_accepting", "lanes"):
        world.store.after[name] = change
        await world.board.refresh()
        assert not world.board.is_accepting
        assert world.board.lane(LANE).paused
        await world.operate.set_accepting(accepting=True)
        await world.operate.resume(LANE)


def paced(requests_per_minute: int | None, due: float | None) -> Lane:
    return Lane(
        name=LANE,
        limits=Limits(requests_per_minute=requests_per_minute),
        pace=Pace(next_permit_time=None if due is None else EPOCH + seconds(due)),
    )


def test_after_a_change_the_next_permit_is_due_as_soon_as_the_new_pace_admits() -> None:
    faster = with_limits(paced(1, 60.8), Limits(requests_per_minute=60), now=EPOCH)

    # One interval after the last permit, which may have been given ahead of its time.
    due = faster.pace.next_permit_time
    assert due is not None
    assert abs(due - EPOCH - VALIDITY - seconds(60.8 / 60)) < seconds(0.001)
    assert with_limits(faster, Limits(requests_per_minute=1), now=EPOCH).pace.next_permit_time == due


def test_without_a_pace_no_permit_waits_for_one() -> None:
    assert with_limits(paced(1, 60.8), Limits(), now=EPOCH).waits_for_pace(EPOCH) is None


def test_a_first_pace_begins_with_an_interval() -> None:
    lane = with_limits(paced(None, None), Limits(requests_per_minute=1), now=EPOCH)

    assert lane.pace.next_permit_time == EPOCH + seconds(60.8)
