"""Conformance of the stores: what they remember of refusals."""

import asyncio
import datetime

from stores import CLIENT, LANE, Age

from scheduler.ports import Store, StoreClock
from scheduler.records import Refused, RefusedKind

SCHEMA = "ab" * 32
HOUR = datetime.timedelta(hours=1)
MOMENT = datetime.timedelta(seconds=10)


async def refuse(store: Store, *, key: str = SCHEMA, client_id: str = CLIENT, lane: str = LANE) -> Refused:
    """Note a refusal, of which three in a row are too many."""
    return await store.note_refused(RefusedKind.SCHEMA, client_id, key, lane, "No.", limit=3, rest=HOUR)


async def test_refusals_in_a_row_are_counted_and_stop_from_the_limit_on(store: Store, time: StoreClock) -> None:
    first, second, third, fourth = [await refuse(store) for _ in range(4)]

    assert [each.count for each in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert (first.until, second.until) == (None, None)
    assert third.until is not None
    assert fourth.until is not None
    assert abs(fourth.until - (time.now() + HOUR)) < MOMENT
    assert fourth.until > third.until
    assert await store.refused() == [fourth]
    assert (fourth.kind, fourth.client_id, fourth.key, fourth.lane) == (RefusedKind.SCHEMA, CLIENT, SCHEMA, LANE)
    assert fourth.message == "No."


async def test_a_limit_of_one_stops_at_once(store: Store) -> None:
    noted = await store.note_refused(RefusedKind.IMAGE, CLIENT, SCHEMA, "", "No.", limit=1, rest=HOUR)

    assert noted.until is not None


async def test_clients_hashes_lanes_and_kinds_are_counted_apart(store: Store) -> None:
    await refuse(store)
    others = [
        await refuse(store, client_id="another"),
        await refuse(store, key="cd" * 32),
        await refuse(store, lane="gemini/another"),
        await store.note_refused(RefusedKind.IMAGE, CLIENT, SCHEMA, "", "No.", limit=3, rest=HOUR),
    ]

    assert [each.count for each in others] == [1, 1, 1, 1]
    assert len(await store.refused()) == 5


async def test_what_was_accepted_is_forgotten(store: Store) -> None:
    await refuse(store)
    other = await refuse(store, key="cd" * 32)

    await store.note_accepted(RefusedKind.SCHEMA, CLIENT, SCHEMA, LANE)
    await store.note_accepted(RefusedKind.SCHEMA, CLIENT, "ef" * 32, LANE)

    assert await store.refused() == [other]
    assert (await refuse(store)).count == 1


async def test_what_was_not_refused_for_a_day_is_forgotten(store: Store, age: Age) -> None:
    await refuse(store)
    await age(datetime.timedelta(hours=23))
    again = await refuse(store)
    await age(datetime.timedelta(hours=2))
    assert [(each.key, each.count) for each in await store.refused()] == [(SCHEMA, 2)]
    assert again.count == 2

    await age(datetime.timedelta(hours=23))

    assert await store.refused() == []
    assert (await refuse(store)).count == 1


async def test_refusals_at_once_are_all_counted(store: Store) -> None:
    async with asyncio.TaskGroup() as tasks:
        noted = [tasks.create_task(refuse(store)) for _ in range(6)]

    assert sorted(task.result().count for task in noted) == [1, 2, 3, 4, 5, 6]
