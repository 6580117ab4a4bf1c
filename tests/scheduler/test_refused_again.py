"""What the provider refuses again and again is stopped, told early, and tried again."""

import asyncio
import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import pytest
from scheduler_world import FakeSignals
from stores import CLIENT, IMAGE_REF, LANE, SPEC

from devkit.virtual_time import EPOCH, in_virtual_time
from runtime.clock import SystemClock
from scheduler.errors import StoreUnavailable, Violation
from scheduler.jobs import ImageRef, JobError, JobSpec, PostProcess
from scheduler.memory_store import MemoryStore
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, Verdict
from scheduler.records import AttemptId, Refused, RefusedKind
from scheduler.refusals import RefusalRules, Refusals

HOUR = datetime.timedelta(hours=1)
SECOND_LANE = "deepseek/deepseek-v4-flash"
TWO_STEPS = dataclasses.replace(
    SPEC,
    post_process=PostProcess(
        model="deepseek-v4-flash", prompt="Sum it up.", schema_json='{"type": "array"}', schema_is_struct=True
    ),
)
SUSPECTED = Failed(JobError(kind="BAD_REQUEST", message="400", retryable=False), schema_suspected=True)
USELESS = Failed(JobError(kind="INVALID_OUTPUT", message="not JSON", retryable=True), flaw="NOT_JSON")
UNREADABLE = Failed(JobError(kind="BAD_IMAGE", message="400", retryable=False), image_sha256=IMAGE_REF.sha256)
AWAY = Failed(JobError(kind="PROVIDER_ERROR", message="503", retryable=True))


class HandTime:
    """Moves only by hand."""

    def __init__(self) -> None:
        self.time = EPOCH

    def now(self) -> datetime.datetime:
        return self.time


class FaultyStore(MemoryStore):
    away = False

    async def refused(self) -> Sequence[Refused]:
        self._check()
        return await super().refused()

    async def note_refused(self, *args: Any, **options: Any) -> Refused:
        self._check()
        return await super().note_refused(*args, **options)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Refusing:
    """Two schedulers on one store."""

    def __init__(self) -> None:
        self.time = HandTime()
        self.signals = FakeSignals()
        self.store = FaultyStore(clock=self.time)
        self.here, self.there = self._scheduler(), self._scheduler()

    def _scheduler(self) -> Refusals:
        return Refusals(
            store=self.store,
            time=self.time,
            clock=SystemClock(),
            signals=self.signals,
            rules=RefusalRules(schema_failures=3, schema_rest=HOUR, image_refusals=2),
        )

    async def note(self, verdict: Verdict, spec: JobSpec = SPEC, *, times: int = 1, **changes: Any) -> None:
        for _ in range(times):
            await self.here.note(outcome(verdict, **changes), CLIENT, spec)


def outcome(verdict: Verdict, **changes: Any) -> Outcome:
    told = Outcome(
        attempt_id=AttemptId("job", 1),
        verdict=verdict,
        usage=None,
        model_version="",
        stage_seconds={},
        paid=False,
        traceparent="",
    )
    return dataclasses.replace(told, **changes)


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


async def test_a_schema_is_stopped_in_its_lane_after_so_many_refusals_in_a_row(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, times=2)
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    assert refusing.signals.announced == 0

    await refusing.note(SUSPECTED)

    refused = refusing.here.refusal(CLIENT, SPEC, LANE)
    assert refused is not None
    assert (refused.kind, refused.count, refused.until) == (RefusedKind.SCHEMA, 3, EPOCH + HOUR)
    assert refusing.signals.announced == 1
    assert refusing.here.refusal("another", SPEC, LANE) is None
    assert refusing.here.refusal(CLIENT, dataclasses.replace(SPEC, schema_json='{"type":"array"}'), LANE) is None
    assert refusing.here.refusal(CLIENT, dataclasses.replace(SPEC, model="another"), "gemini/another") is None


async def test_white_space_makes_no_other_schema(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, times=3)

    spaced = dataclasses.replace(SPEC, schema_json='{ "type" :\n"object" }')
    assert refusing.here.refusal(CLIENT, spaced, LANE) is not None


@pytest.mark.parametrize("accepted", [(Succeeded("{}"), {}), (USELESS, {"paid": True})])
async def test_an_answer_begins_the_count_anew(refusing: Refusing, accepted: tuple[Verdict, dict[str, Any]]) -> None:
    verdict, changes = accepted
    await refusing.note(SUSPECTED, times=2)
    await refusing.note(verdict, **changes)
    await refusing.note(SUSPECTED, times=2)

    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    [counted] = await refusing.store.refused()
    assert counted.count == 2


@pytest.mark.parametrize(
    "other", [(AWAY, {}), (AWAY, {"paid": True, "unanswered": True}), (Throttled("429"), {}), (Released("stop"), {})]
)
async def test_what_says_nothing_of_the_schema_changes_no_count(
    refusing: Refusing, other: tuple[Verdict, dict[str, Any]]
) -> None:
    verdict, changes = other
    await refusing.note(SUSPECTED, times=2)
    await refusing.note(verdict, **changes)
    await refusing.note(SUSPECTED)

    assert refusing.here.refusal(CLIENT, SPEC, LANE) is not None


async def test_when_its_time_is_over_one_job_tries_a_schema_and_decides(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, times=3)
    refusing.time.time += HOUR

    assert refusing.here.refusal_of_schema(CLIENT, SPEC.schema_json, LANE) is None
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is not None
    assert refusing.here.refusal_of_schema(CLIENT, SPEC.schema_json, LANE) is not None

    await refusing.note(SUSPECTED)
    refusing.time.time += HOUR - datetime.timedelta(seconds=1)
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is not None

    refusing.time.time += datetime.timedelta(seconds=1)
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    await refusing.note(Succeeded("{}"))
    assert [refusing.here.refusal(CLIENT, SPEC, LANE) for _ in range(2)] == [None, None]


async def test_a_try_that_was_never_heard_of_is_followed_by_another(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, times=3)
    refusing.time.time += HOUR
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None

    refusing.time.time += HOUR

    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is not None


async def test_the_second_step_has_a_schema_and_a_lane_of_its_own(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, TWO_STEPS, times=3, step=2, steps=2)

    assert refusing.here.refusal(CLIENT, TWO_STEPS, LANE) is None
    assert refusing.here.refusal(CLIENT, TWO_STEPS, SECOND_LANE) is not None
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None


async def test_an_image_is_in_quarantine_after_two_refusals_whoever_of_the_client_sends_it(refusing: Refusing) -> None:
    await refusing.note(UNREADABLE)
    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None
    await refusing.note(UNREADABLE)

    refused = refusing.here.refusal(CLIENT, dataclasses.replace(SPEC, model="another"), "gemini/another")
    assert refused is not None
    assert (refused.kind, refused.key) == (RefusedKind.IMAGE, IMAGE_REF.sha256)
    assert refusing.here.refusal_of_image("another", IMAGE_REF.sha256) is None
    assert refusing.here.refusal(CLIENT, TWO_STEPS, SECOND_LANE) is None

    refusing.time.time += 24 * HOUR
    assert refusing.here.refusal_of_image(CLIENT, IMAGE_REF.sha256) is None


async def test_only_images_that_the_job_names_are_noted(refusing: Refusing) -> None:
    fetched = dataclasses.replace(
        SPEC, images=(ImageRef(sha256="", mime_type="", size=0, uri="https://images.example/1"),)
    )
    await refusing.note(UNREADABLE, fetched, times=2)

    assert await refusing.store.refused() == []


async def test_what_is_kept_says_nothing_of_the_content(refusing: Refusing) -> None:
    quoting = Failed(
        JobError(kind="BAD_REQUEST", message="no property 'salary'", retryable=False), schema_suspected=True
    )
    await refusing.note(quoting)

    [kept] = await refusing.store.refused()
    assert "salary" not in kept.message


async def test_a_job_whose_content_was_removed_says_nothing(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, SPEC.without_content(), times=3)
    await refusing.note(UNREADABLE, SPEC.without_content(), times=3)

    assert await refusing.store.refused() == []


async def test_another_scheduler_knows_after_its_next_look(refusing: Refusing) -> None:
    await refusing.note(SUSPECTED, times=3)
    assert refusing.there.refusal(CLIENT, SPEC, LANE) is None

    await refusing.there.refresh()
    assert refusing.there.refusal(CLIENT, SPEC, LANE) is not None

    await refusing.note(Succeeded("{}"))
    await refusing.there.refresh()
    assert refusing.there.refusal(CLIENT, SPEC, LANE) is None


@in_virtual_time
async def test_looks_go_on_after_the_store_was_away_and_come_early_when_woken() -> None:
    refusing = Refusing()
    refusing.store.away = True
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(refusing.there.run())
        await asyncio.sleep(2.5)
        refusing.store.away = False
        await refusing.note(SUSPECTED, times=3)
        began = loop.time()
        refusing.there.wake()
        while refusing.there.refusal_of_schema(CLIENT, SPEC.schema_json, LANE) is None:
            await asyncio.sleep(0.05)
        assert loop.time() - began <= 0.3
        running.cancel()


async def test_a_refusal_that_cannot_be_stored_is_let_go(refusing: Refusing) -> None:
    refusing.store.away = True

    await refusing.note(SUSPECTED, times=5)
    await refusing.note(UNREADABLE, times=5)

    assert refusing.here.refusal(CLIENT, SPEC, LANE) is None


async def test_only_news_is_worth_asking_whose_job_it_was(refusing: Refusing) -> None:
    assert refusing.here.wants(outcome(SUSPECTED), LANE)
    assert refusing.here.wants(outcome(UNREADABLE), LANE)
    assert not refusing.here.wants(outcome(Succeeded("{}")), LANE)
    assert not refusing.here.wants(outcome(AWAY), LANE)

    await refusing.note(SUSPECTED)

    assert refusing.here.wants(outcome(Succeeded("{}")), LANE)
    assert refusing.here.wants(outcome(USELESS, paid=True), LANE)
    assert not refusing.here.wants(outcome(AWAY), LANE)
    assert not refusing.here.wants(outcome(Succeeded("{}")), "gemini/another")


async def test_what_is_refused_is_told_with_its_path(refusing: Refusing) -> None:
    assert refusing.here.violations(CLIENT, TWO_STEPS, "spec", ["data"]) == []
    await refusing.note(SUSPECTED, TWO_STEPS, times=3)
    await refusing.note(SUSPECTED, TWO_STEPS, times=4, step=2, steps=2)
    await refusing.note(UNREADABLE, times=2)

    schema, second, image = refusing.here.violations(CLIENT, TWO_STEPS, "requests[1].spec", ["data"])

    assert schema == Violation(
        "requests[1].spec.response_schema_json",
        "was refused by the provider 3 times in a row; change it, or try it again after "
        f"{EPOCH + HOUR:%Y-%m-%d %H:%M:%S} UTC",
    )
    assert second.path == "requests[1].spec.post_process.response_schema"
    assert "4 times" in second.description
    assert image.path == "requests[1].spec.images[0].data"
    assert "cannot be read" in image.description
