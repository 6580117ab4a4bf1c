import asyncio

from devkit.virtual_time import VirtualClock, run
from executor.provider_key import RETRY_SECONDS, ProviderKey
from executor.slots import Closed, Slots


async def free_over_time(slots: Slots, key: ProviderKey, *seconds: float) -> list[int]:
    """Return the free slots after each of these times."""
    frees = []
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(key.run())
        for pause in seconds:
            await asyncio.sleep(pause)
            frees.append(slots.free)
        running.cancel()
    return frees


def test_a_refused_key_is_tried_with_one_job_after_a_minute() -> None:
    async def main() -> list[int]:
        slots = Slots(capacity=5)
        key = ProviderKey(slots=slots, clock=VirtualClock())
        key.refused("no")
        return await free_over_time(slots, key, 0, RETRY_SECONDS - 1, 2)

    assert run(main()) == [0, 0, 1]


def test_a_key_that_is_refused_again_waits_another_minute() -> None:
    async def main() -> list[int]:
        slots = Slots(capacity=5)
        key = ProviderKey(slots=slots, clock=VirtualClock())
        key.refused("no")
        first = await free_over_time(slots, key, RETRY_SECONDS + 1)
        key.refused("no")
        return first + await free_over_time(slots, key, RETRY_SECONDS - 1, 2)

    assert run(main()) == [1, 0, 1]


def test_several_refusals_of_calls_under_way_count_from_the_last() -> None:
    async def main() -> list[int]:
        slots = Slots(capacity=5)
        key = ProviderKey(slots=slots, clock=VirtualClock())
        key.refused("no")
        first = await free_over_time(slots, key, 30)
        key.refused("no")
        return first + await free_over_time(slots, key, RETRY_SECONDS - 1, 2)

    assert run(main()) == [0, 0, 1]


def test_a_key_that_is_accepted_frees_every_slot_at_once() -> None:
    async def main() -> list[int]:
        slots = Slots(capacity=5)
        key = ProviderKey(slots=slots, clock=VirtualClock())
        key.refused("no")
        key.accepted()
        return await free_over_time(slots, key, 0, RETRY_SECONDS + 1)

    assert run(main()) == [5, 5]


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
