"""Submissions that are let in or shed, and calls that are counted."""

import asyncio
import contextlib
import datetime
from contextlib import AbstractAsyncContextManager

import pytest
from scheduler_world import FixedRandomness, looping, settle

from devkit.virtual_time import VirtualClock, in_virtual_time
from scheduler.admission import MAX_SIZE, MAX_UPLOADS, MAX_WAITING, WAIT_SECONDS, Admission, Arrival
from scheduler.errors import Overloaded, TooManyCalls
from scheduler.open_calls import OpenCalls


class LateClock(VirtualClock):
    """Wakes sleepers late, as a loop that is busy does."""

    def __init__(self) -> None:
        super().__init__()
        self.late_seconds = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + self.late_seconds)


class Scene:
    """An admission, and what it measures."""

    def __init__(self, *, max_submissions: int = 2) -> None:
        self.clock = LateClock()
        self.outcomes_share = 0.0
        self.admission = Admission(
            clock=self.clock,
            randomness=FixedRandomness(),
            outcomes_share=lambda: self.outcomes_share,
            max_submissions=max_submissions,
        )

    def place(self, arrival: Arrival | None = None, *, is_upload: bool = False) -> AbstractAsyncContextManager[None]:
        return self.admission.place(arrival or Arrival(), is_upload=is_upload)

    async def refusal(self, *, is_upload: bool = False) -> str:
        """Return why a submission is shed; empty if it is let in."""
        try:
            async with self.place(is_upload=is_upload):
                return ""
        except Overloaded as error:
            return str(error)


@in_virtual_time
async def test_a_submission_that_finds_no_place_in_time_is_shed() -> None:
    scene = Scene(max_submissions=2)
    async with scene.place(), scene.place():
        began = scene.clock.monotonic()
        with pytest.raises(Overloaded, match="as many submissions as it can") as refusal:
            async with scene.place():
                pass
        assert refusal.value.retry_after == datetime.timedelta(seconds=0.5)
        assert scene.clock.monotonic() - began == pytest.approx(WAIT_SECONDS)

    assert not await scene.refusal()


@in_virtual_time
async def test_a_burst_waits_for_its_turn_and_passes() -> None:
    scene = Scene(max_submissions=2)
    inside, most, passed = 0, 0, 0

    async def submit() -> None:
        nonlocal inside, most, passed
        async with scene.place():
            inside += 1
            most = max(most, inside)
            await scene.clock.sleep(0.01)
            inside -= 1
        passed += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(submit())

    assert (passed, most) == (50, 2)


@in_virtual_time
async def test_a_crowd_that_waits_already_is_not_joined() -> None:
    scene = Scene(max_submissions=1)
    async with scene.place(), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(scene.refusal()) for _ in range(MAX_WAITING)]
        await settle()

        began = scene.clock.monotonic()
        assert await scene.refusal()
        assert scene.clock.monotonic() == began
    assert all(task.result() for task in waiting)
    assert not await scene.refusal()


@in_virtual_time
async def test_a_submission_that_fails_makes_room_too() -> None:
    scene = Scene(max_submissions=1)
    for _ in range(3):
        with contextlib.suppress(ValueError):
            async with scene.place():
                raise ValueError

    assert not await scene.refusal()


@in_virtual_time
async def test_uploads_take_no_place_of_submissions() -> None:
    scene = Scene(max_submissions=1)
    async with contextlib.AsyncExitStack() as uploads:
        for _ in range(MAX_UPLOADS):
            await uploads.enter_async_context(scene.place(is_upload=True))

        assert not await scene.refusal()
        assert await scene.refusal(is_upload=True)
    assert not await scene.refusal(is_upload=True)


@in_virtual_time
async def test_large_requests_leave_room_for_fewer() -> None:
    scene, large = Scene(max_submissions=100), Arrival()
    async with scene.place(large):
        large.read(MAX_SIZE // 2)
        assert not await scene.refusal()
        large.read(MAX_SIZE // 2)
        assert "memory" in await scene.refusal()

    assert not await scene.refusal()


@in_virtual_time
async def test_who_waits_for_a_place_is_shed_if_there_is_no_memory_left_by_then() -> None:
    scene, large = Scene(max_submissions=2), Arrival()
    async with scene.place(large), asyncio.TaskGroup() as tasks:
        async with scene.place():
            waiting = tasks.create_task(scene.refusal())
            await settle()
            large.read(MAX_SIZE)
        assert "memory" in await waiting


@in_virtual_time
async def test_a_loop_that_stays_late_sheds_until_it_is_in_time_again() -> None:
    scene = Scene()
    async with looping(scene.admission.run):
        await scene.clock.sleep(1)
        assert not await scene.refusal()

        scene.clock.late_seconds = 0.8
        await scene.clock.sleep(5)
        assert "event loop" in await scene.refusal()

        scene.clock.late_seconds = 0.0
        await scene.clock.sleep(2)
        assert not await scene.refusal()


@in_virtual_time
async def test_one_long_step_sheds_nothing() -> None:
    scene, clock = Scene(), VirtualClock()
    async with looping(scene.admission.run):
        await clock.sleep(0.35)
        # The look that begins at 0.4 s comes 2 s too late, the next ones in time.
        scene.clock.late_seconds = 2.0
        await clock.sleep(0.1)
        scene.clock.late_seconds = 0.0
        for _ in range(30):
            await clock.sleep(0.1)
            assert not await scene.refusal()


@in_virtual_time
async def test_outcomes_that_pile_up_shed_submissions() -> None:
    scene = Scene()
    async with looping(scene.admission.run):
        scene.outcomes_share = 0.6
        await scene.clock.sleep(1)
        assert "outcomes" in await scene.refusal()

        scene.outcomes_share = 0.1
        await scene.clock.sleep(1)
        assert not await scene.refusal()


def test_a_client_may_have_so_many_calls_of_a_kind_open() -> None:
    calls = OpenCalls({"watches": 2, "calls": 1})
    with calls.counted("a", "watches"), calls.counted("a", "watches"):
        with pytest.raises(TooManyCalls) as refusal, calls.counted("a", "watches"):
            pass
        assert (refusal.value.kind, refusal.value.limit) == ("watches", 2)
        # Neither other kinds nor other clients are concerned.
        with calls.counted("a", "calls"), calls.counted("b", "watches"):
            pass

    with calls.counted("a", "watches"):
        pass


def test_clients_that_have_gone_leave_nothing_behind() -> None:
    calls = OpenCalls({"calls": 1})
    for number in range(100):
        client = f"client {number}"
        with calls.counted(client, "calls"), contextlib.suppress(TooManyCalls), calls.counted(client, "calls"):
            pass
        with contextlib.suppress(ValueError), calls.counted(client, "calls"):
            raise ValueError

    assert len(calls) == 0


@in_virtual_time
async def test_one_client_takes_half_of_the_places_and_leaves_the_others() -> None:
    scene = Scene(max_submissions=4)
    place = scene.admission.place

    async with place(Arrival(), is_upload=False, client_id="slow"), place(Arrival(), is_upload=False, client_id="slow"):
        with pytest.raises(Overloaded):
            async with place(Arrival(), is_upload=False, client_id="slow"):
                pass
        async with (
            place(Arrival(), is_upload=False, client_id="quick"),
            place(Arrival(), is_upload=False, client_id="quick"),
        ):
            pass

    async with place(Arrival(), is_upload=False, client_id="slow"):
        pass
    assert not scene.admission._shares._places
