"""Conformance of the stores: alerts begin, go on and end."""

import asyncio
import dataclasses
import datetime

from stores import LANE, Age

from scheduler.ports import Store, StoreClock
from scheduler.records import Alert

MINUTE = datetime.timedelta(minutes=1)


def alert(time: StoreClock, subject: str = LANE, message: str = "Look.") -> Alert:
    return Alert(name="MODEL_REROUTED", subject=subject, severity="WARNING", message=message, start_time=time.now())


async def active(store: Store) -> list[Alert]:
    return list(await store.alerts(include_ended=False, limit=10))


async def test_an_alert_is_kept_whole_until_it_ends(store: Store, time: StoreClock) -> None:
    raised = alert(time)

    assert await store.raise_alert(raised)
    assert await active(store) == [raised]

    assert await store.end_alert(raised.name, raised.subject)
    assert not await store.end_alert(raised.name, raised.subject)
    assert await active(store) == []
    [ended] = await store.alerts(include_ended=True, limit=10)
    assert ended.end_time is not None
    assert dataclasses.replace(ended, end_time=None) == raised


async def test_one_that_is_raised_again_is_renewed(store: Store, time: StoreClock) -> None:
    first = alert(time)
    await store.raise_alert(first)

    assert not await store.raise_alert(alert(time, message="Look again."))

    assert await active(store) == [dataclasses.replace(first, message="Look again.")]


async def test_alerts_of_other_subjects_and_names_are_apart_newest_first(store: Store, time: StoreClock) -> None:
    first, second = alert(time), alert(time, "another")
    third = dataclasses.replace(alert(time), name="BREAKER_OPEN")

    assert [await store.raise_alert(each) for each in (first, second, third)] == [True, True, True]
    await store.end_alert(second.name, second.subject)

    assert await active(store) == [third, first]
    assert [each.subject for each in await store.alerts(include_ended=True, limit=2)] == [LANE, "another"]


async def test_one_that_ended_lately_goes_on_and_one_that_ended_long_ago_is_another(
    store: Store, time: StoreClock, age: Age
) -> None:
    await store.raise_alert(alert(time))
    await store.end_alert("MODEL_REROUTED", LANE)
    await age(9 * MINUTE)
    assert await store.raise_alert(alert(time, message="Look again."))
    assert [each.message for each in await store.alerts(include_ended=True, limit=10)] == ["Look again."]

    await store.end_alert("MODEL_REROUTED", LANE)
    await age(11 * MINUTE)
    assert await store.raise_alert(alert(time))

    assert [each.end_time is None for each in await store.alerts(include_ended=True, limit=10)] == [True, False]


async def test_of_many_at_once_one_is_raised(store: Store, time: StoreClock) -> None:
    async with asyncio.TaskGroup() as tasks:
        raised = [tasks.create_task(store.raise_alert(alert(time))) for _ in range(6)]

    assert [task.result() for task in raised].count(True) == 1
    assert len(await active(store)) == 1
