"""Alerts begin and end with what schedulers see."""

import asyncio
import datetime
from collections.abc import Sequence

import pytest
from stores import LANE

from devkit.virtual_time import EPOCH, in_virtual_time
from runtime.clock import SystemClock
from scheduler.alerts import MODEL_REROUTED, Alerts
from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryStore
from scheduler.records import Alert

ASKED, OTHER = "gemini-3.8-flash", "gemini-3.5-flash-lite-001"


class HandTime:
    """Moves only by hand."""

    def __init__(self) -> None:
        self.time = EPOCH

    def now(self) -> datetime.datetime:
        return self.time


class FaultyStore(MemoryStore):
    away = False
    writes = 0

    async def raise_alert(self, alert: Alert) -> bool:
        self._check()
        return await super().raise_alert(alert)

    async def end_alert(self, name: str, subject: str) -> bool:
        self._check()
        return await super().end_alert(name, subject)

    async def alerts(self, *, include_ended: bool, limit: int) -> Sequence[Alert]:
        if self.away:
            raise StoreUnavailable("away")
        return await super().alerts(include_ended=include_ended, limit=limit)

    def _check(self) -> None:
        self.writes += 1
        if self.away:
            raise StoreUnavailable("away")


class Alerting:
    """Two schedulers on one store."""

    def __init__(self) -> None:
        self.time = HandTime()
        self.store = FaultyStore(clock=self.time)
        self.counted: list[str] = []
        self.here, self.there = self._scheduler(), self._scheduler()

    def _scheduler(self) -> Alerts:
        return Alerts(store=self.store, time=self.time, clock=SystemClock(), on_reroute=self.counted.append)

    def pass_by(self, seconds: float) -> None:
        self.time.time += datetime.timedelta(seconds=seconds)

    async def active(self) -> Sequence[Alert]:
        return await self.here.all(include_ended=False)


@pytest.fixture
def alerting() -> Alerting:
    return Alerting()


async def test_another_models_answer_raises_an_alert_that_names_both(alerting: Alerting) -> None:
    await alerting.here.model_rerouted(LANE, ASKED, OTHER)

    [alert] = await alerting.active()
    assert (alert.name, alert.subject, alert.severity, alert.start_time) == (MODEL_REROUTED, LANE, "WARNING", EPOCH)
    assert ASKED in alert.message
    assert OTHER in alert.message


async def test_every_such_answer_is_counted_and_told_once_a_minute_for_each_version(alerting: Alerting) -> None:
    for _ in range(3):
        await alerting.here.model_rerouted(LANE, ASKED, OTHER)
    assert alerting.store.writes == 1

    await alerting.here.model_rerouted(LANE, ASKED, "gemini-3.7-flash")
    alerting.pass_by(60)
    await alerting.here.model_rerouted(LANE, ASKED, OTHER)

    assert alerting.store.writes == 3
    assert alerting.counted == [LANE] * 5
    assert len(await alerting.active()) == 1


async def test_the_answer_of_the_asked_model_ends_the_alert(alerting: Alerting) -> None:
    await alerting.here.model_rerouted(LANE, ASKED, OTHER)
    assert alerting.here.concerns(LANE)
    await alerting.here.model_answered("gemini/another")
    assert len(await alerting.active()) == 1

    await alerting.here.model_answered(LANE)

    assert await alerting.active() == []
    assert [alert.end_time for alert in await alerting.here.all(include_ended=True)] == [EPOCH]
    assert not alerting.here.concerns(LANE)


async def test_answers_cost_nothing_while_there_is_no_alert(alerting: Alerting) -> None:
    await alerting.here.model_answered(LANE)

    assert alerting.store.writes == 0


async def test_answers_that_come_and_go_write_little(alerting: Alerting) -> None:
    for _ in range(100):
        await alerting.here.model_rerouted(LANE, ASKED, OTHER)
        await alerting.here.model_answered(LANE)

    assert alerting.store.writes == 2


async def test_one_that_another_scheduler_raised_is_ended_after_a_look(alerting: Alerting) -> None:
    await alerting.there.model_rerouted(LANE, ASKED, OTHER)

    await alerting.here.refresh()
    await alerting.here.model_answered(LANE)

    assert await alerting.active() == []


async def test_what_cannot_be_stored_is_tried_again_by_the_next_answer(alerting: Alerting) -> None:
    alerting.store.away = True
    await alerting.here.model_rerouted(LANE, ASKED, OTHER)
    alerting.store.away = False
    await alerting.here.model_rerouted(LANE, ASKED, OTHER)
    assert len(await alerting.active()) == 1

    alerting.store.away = True
    await alerting.here.model_answered(LANE)
    alerting.store.away = False
    await alerting.here.model_answered(LANE)

    assert await alerting.active() == []


async def test_a_long_version_is_cut(alerting: Alerting) -> None:
    await alerting.here.model_rerouted(LANE, ASKED, "x" * 100_000)

    [alert] = await alerting.active()
    assert len(alert.message) < 1_000


@in_virtual_time
async def test_looks_go_on_after_the_store_was_away() -> None:
    alerting = Alerting()
    await alerting.there.model_rerouted(LANE, ASKED, OTHER)
    alerting.store.away = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(alerting.here.run())
        await asyncio.sleep(12)
        alerting.store.away = False
        await asyncio.sleep(6)
        running.cancel()

    assert alerting.here.concerns(LANE)
