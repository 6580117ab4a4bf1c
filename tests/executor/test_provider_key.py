import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from devkit.virtual_time import VirtualClock, run
from executor.provider_key import RETRY_SECONDS, KeyRefused, ProviderKeys
from executor.slots import Closed, Slots

BOTH = ("gemini/*", "deepseek/*")


class Keys:
    """The keys of an executor with five slots, and their loop."""

    def __init__(self, lanes: tuple[str, ...]) -> None:
        self.slots = Slots(capacity=5)
        self.keys = ProviderKeys(lanes=lanes, slots=self.slots, clock=VirtualClock())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Keys"]:
        async with asyncio.timeout(3_600), asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(self.keys.run())
            yield self
            loop.cancel()

    async def free_after(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return self.slots.free


def with_keys(scenario: Callable[[Keys], Awaitable[None]], *, lanes: tuple[str, ...] = ("gemini/*",)) -> None:
    async def main() -> None:
        async with Keys(lanes).running() as keys:
            await scenario(keys)

    run(main())


def test_a_refused_key_is_tried_with_one_job_after_a_minute() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("gemini", "no")

        assert [await world.free_after(pause) for pause in (0, RETRY_SECONDS - 1, 2)] == [0, 0, 1]

    with_keys(scenario)


def test_a_key_that_is_refused_again_waits_another_minute() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("gemini", "no")
        first = await world.free_after(RETRY_SECONDS + 1)
        world.keys.refused("gemini", "no")

        assert [first, await world.free_after(RETRY_SECONDS - 1), await world.free_after(2)] == [1, 0, 1]

    with_keys(scenario)


def test_several_refusals_of_calls_under_way_count_from_the_last() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("gemini", "no")
        await world.free_after(30)
        world.keys.refused("gemini", "no")

        assert [await world.free_after(RETRY_SECONDS - 1), await world.free_after(2)] == [0, 1]

    with_keys(scenario)


def test_a_key_that_is_accepted_frees_every_slot_at_once() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("gemini", "no")
        world.keys.accepted("gemini")

        assert [await world.free_after(0), await world.free_after(RETRY_SECONDS + 1)] == [5, 5]

    with_keys(scenario)


def test_a_provider_that_refuses_loses_its_lanes_and_the_other_keeps_every_slot() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("deepseek", "no")
        await world.keys.moved_from(BOTH)

        assert (world.keys.lanes, world.slots.free) == (("gemini/*",), 5)
        await world.keys.moved_from(("gemini/*",))
        assert asyncio.get_running_loop().time() == RETRY_SECONDS
        assert (world.keys.lanes, world.slots.free) == (BOTH, 5)

    with_keys(scenario, lanes=BOTH)


def test_where_all_providers_refuse_the_slots_close_and_no_other_lanes_are_told() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("deepseek", "no")
        told = world.keys.lanes
        await asyncio.sleep(10)
        world.keys.refused("gemini", "no")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS - 11):
                await world.keys.moved_from(told)
        assert world.slots.free == 0
        await world.keys.moved_from(told)
        assert (world.keys.lanes, world.slots.free) == (("deepseek/*",), 1)

    with_keys(scenario, lanes=BOTH)


def test_nothing_is_called_with_a_key_that_is_refused() -> None:
    async def scenario(world: Keys) -> None:
        world.keys.refused("deepseek", "HTTP 401: no such key")

        with pytest.raises(KeyRefused, match="no such key"):
            async with world.keys.calling("deepseek"):
                raise AssertionError
        async with world.keys.calling("gemini"):
            pass

    with_keys(scenario, lanes=BOTH)


def test_on_trial_one_calls_and_the_others_wait_for_what_comes_of_it() -> None:
    async def scenario(world: Keys) -> None:
        called: list[str] = []
        world.keys.refused("deepseek", "no")
        await asyncio.sleep(RETRY_SECONDS + 1)

        async def call(name: str) -> None:
            async with world.keys.calling("deepseek"):
                called.append(name)
                await asyncio.sleep(5)
                if name == "second":
                    world.keys.accepted("deepseek")

        async with asyncio.TaskGroup() as tasks:
            for name in ("first", "second", "third", "fourth"):
                tasks.create_task(call(name))
            await asyncio.sleep(1)
            assert called == ["first"]
            # The first ends without a word about the key.
            await asyncio.sleep(5)
            assert called == ["first", "second"]
            await asyncio.sleep(5)
            assert called == ["first", "second", "third", "fourth"]

    with_keys(scenario, lanes=BOTH)


def test_those_who_wait_for_a_trial_that_fails_call_nobody() -> None:
    async def scenario(world: Keys) -> None:
        refused: list[str] = []
        world.keys.refused("deepseek", "no")
        await asyncio.sleep(RETRY_SECONDS + 1)

        async def call() -> None:
            try:
                async with world.keys.calling("deepseek"):
                    await asyncio.sleep(5)
                    world.keys.refused("deepseek", "still no")
            except KeyRefused as refusal:
                refused.append(str(refusal))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(call())

        assert refused == ["still no"] * 2

    with_keys(scenario, lanes=BOTH)


def test_free_slots_are_those_that_nothing_takes_or_holds_back() -> None:
    changes: list[int] = []
    slots = Slots(capacity=3)
    slots.listen(lambda: changes.append(slots.free))

    slots.use()
    slots.close(Closed.DRAINING)
    slots.close(Closed.SPOOL_UNWRITABLE)
    slots.reopen(Closed.DRAINING)
    slots.reopen(Closed.SPOOL_UNWRITABLE)
    slots.limit(0)
    slots.limit(None)
    slots.release()

    assert changes == [2, 0, 0, 0, 2, 0, 2, 3]
