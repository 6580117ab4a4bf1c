"""What stored outcomes say of schemas, images and models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from scheduler_peers import Executor, dial, failed, succeeded
from scheduler_world import World, fail_times, looping, settle
from stores import CLIENT, IMAGE_REF, LANE, NEW_IMAGE, insert, new_job, submit

from devkit.virtual_time import in_virtual_time
from scheduler.findings import Findings
from scheduler.fleet import Assignment, OutcomeAck
from scheduler.jobs import AttemptOutcome, JobError, JobSpec, JobState
from scheduler.outcomes import Failed, Outcome, Succeeded
from scheduler.records import AttemptId


class HeardOutcomes:
    """Stands for what is refused: wants to hear of everything."""

    def __init__(self) -> None:
        self.heard: list[Outcome] = []

    def wants(self, outcome: Outcome, lane: str) -> bool:
        del outcome, lane
        return True

    async def note(self, outcome: Outcome, client_id: str, spec: JobSpec) -> None:
        del client_id, spec
        self.heard.append(outcome)


def suspect(attempt: AttemptId) -> Outcome:
    return failed(attempt, "BAD_REQUEST", retryable=False, schema_suspected=True)


def bad_image(attempt: AttemptId) -> Outcome:
    return failed(attempt, "BAD_IMAGE", retryable=False, image_sha256=IMAGE_REF.sha256, stage_seconds={})


async def run_one(world: World, executor: Executor, end: Callable[[AttemptId], Outcome], **changes: Any) -> AttemptId:
    """Submit a job, and let its attempt end so."""
    await insert(world.store, CLIENT, [new_job(world.clock, **changes)])
    await executor.offer(1)
    [attempt] = await executor.receive()
    await executor.tell(end(attempt))
    await executor.hear(OutcomeAck)
    await settle()
    return attempt


async def stop_the_schema(world: World, executor: Executor) -> None:
    for _ in range(5):
        await run_one(world, executor, suspect)


@in_virtual_time
async def test_a_job_with_a_stopped_schema_ends_without_a_call_and_its_slot_is_free() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await stop_the_schema(world, executor)
        [job_id] = await submit(world.store, world.clock)
        await executor.offer(1)
        await settle()
        job = await world.see(job_id)

        assert await executor.has_heard(Assignment) == []
        assert executor.session.free_slots == 1
    assert job.error is not None
    assert (job.state, job.error.kind, job.error.retryable) == (JobState.FAILED, "SCHEMA_STOPPED", False)
    assert [(each.outcome, each.paid, each.stage_seconds) for each in job.attempts] == [
        (AttemptOutcome.FAILED, False, {})
    ]
    assert world.hub.changed[-1] == job_id


@in_virtual_time
async def test_many_jobs_with_a_stopped_schema_end_however_few_slots_there_are() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await stop_the_schema(world, executor)
        job_ids = await submit(world.store, world.clock, *[2] * 50)
        await executor.offer(1)
        await settle()

        assert await world.states(job_ids) == [JobState.FAILED] * 50
        assert world.clock.monotonic() < 1


@in_virtual_time
async def test_a_job_with_another_schema_goes_out_past_those_with_a_stopped_one() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await stop_the_schema(world, executor)
        await submit(world.store, world.clock)
        [other] = await insert(world.store, CLIENT, [new_job(world.clock, schema_json='{"type": "array"}')])
        await executor.offer(1)
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.attempt_id.job_id == other


@in_virtual_time
async def test_a_useful_answer_ends_a_row_of_refusals() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        for end in (suspect, suspect, suspect, suspect):
            await run_one(world, executor, end)
        before = world.signals.announced
        await run_one(world, executor, succeeded)
        # The others need not wait for their next look.
        assert world.signals.announced == before + 1
        await run_one(world, executor, suspect)
        await submit(world.store, world.clock)
        await executor.offer(1)

        assert await executor.hear(Assignment)


@in_virtual_time
async def test_an_outcome_that_is_told_again_is_noted_once() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        attempt = await run_one(world, executor, suspect)
        for _ in range(5):
            await executor.tell(suspect(attempt))
            await executor.hear(OutcomeAck)
        await settle()

        assert [refused.count for refused in await world.store.refused()] == [1]


@in_virtual_time
async def test_a_job_whose_image_was_refused_twice_ends_without_a_call() -> None:
    world = World()
    executor = await dial(world)
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    async with world.running():
        for _ in range(2):
            await run_one(world, executor, bad_image, images=(IMAGE_REF,))
        [job_id] = await insert(world.store, CLIENT, [new_job(world.clock, images=(IMAGE_REF,))])
        await executor.offer(1)
        await settle()
        job = await world.see(job_id)

        assert await executor.has_heard(Assignment) == []
        # Such an end is no refusal of its own.
        assert [refused.count for refused in await world.store.refused()] == [2]
    assert job.error is not None
    assert (job.error.kind, job.error.retryable) == ("BAD_IMAGE", False)


@in_virtual_time
async def test_what_the_store_cannot_say_is_forgotten_and_the_outcome_is_not() -> None:
    world = World()
    executor = await dial(world)
    world.store.before["specs_of"] = fail_times(1)
    async with world.running():
        first = await run_one(world, executor, suspect)
        await run_one(world, executor, suspect)

        assert [refused.count for refused in await world.store.refused()] == [1]
        assert (await world.see(first.job_id)).state is JobState.FAILED


@in_virtual_time
async def test_plain_successes_cost_no_query_but_their_end() -> None:
    world = World()
    executor = await dial(world, slots=20)
    await submit(world.store, world.clock, *[2] * 20)
    async with world.running():
        attempts = await executor.receive(20)
        before = world.store.calls.copy()
        await executor.tell(*map(succeeded, attempts))
        await executor.hear(OutcomeAck, 20)
        await settle()
        made = world.store.calls - before

    assert {name: count for name, count in made.items() if name not in ("lane_heads", "shares")} == {"finish": 1}


@in_virtual_time
async def test_the_answer_of_another_model_raises_an_alert_and_the_lanes_own_ends_it() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await run_one(world, executor, lambda attempt: succeeded(attempt, model_version="gemini-3.5-flash-002"))
        [alert] = await world.alerts.all(include_ended=False)
        await run_one(world, executor, lambda attempt: succeeded(attempt, model_version="gemini-3.8-flash-001"))

        assert await world.alerts.all(include_ended=False) == []
    assert (alert.name, alert.subject) == ("MODEL_REROUTED", LANE)
    assert world.rerouted == [LANE]


@in_virtual_time
async def test_a_failure_that_names_no_model_does_not_end_it() -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await run_one(world, executor, lambda attempt: succeeded(attempt, model_version="gemini-3.5-flash-002"))
        await run_one(world, executor, lambda attempt: failed(attempt, retryable=False, model_version=""))

        assert len(await world.alerts.all(include_ended=False)) == 1


@pytest.mark.parametrize("version", ["gemini-3.8-flash", "gemini-3.8-flash-001", ""])
@in_virtual_time
async def test_the_asked_model_raises_none(version: str) -> None:
    world = World()
    executor = await dial(world)
    async with world.running():
        await run_one(world, executor, lambda attempt: succeeded(attempt, model_version=version))

        assert await world.alerts.all(include_ended=True) == []


@in_virtual_time
async def test_a_success_from_elsewhere_costs_what_the_asked_model_does() -> None:
    """Its attempt is not held on the stream that brings it: it was given up, or another scheduler handed it out."""
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with world.running():
        [attempt] = await executor.receive()
        other = await dial(world, "e2")
        await other.tell(succeeded(attempt, model_version="unheard-of"))
        await other.hear(OutcomeAck)
        job = await world.see(job_id)

    assert job.result is not None
    assert job.result.cost_usd > 0


@in_virtual_time
async def test_answers_are_not_held_while_outcomes_wait_to_be_noted() -> None:
    world = World()
    refusals = HeardOutcomes()
    findings = Findings(store=world.store, refusals=cast("Any", refusals), alerts=world.alerts, models=())
    [job_id] = await submit(world.store, world.clock)
    outcomes = [succeeded(AttemptId(job_id, 1)), suspect(AttemptId(job_id, 2))]
    failure = Failed(JobError(kind="INVALID_OUTPUT", message="", retryable=True), raw_answer="not JSON")
    async with looping(findings.run):
        findings.add([*outcomes, replace(outcomes[1], verdict=failure)])
        await settle()

    verdicts = [outcome.verdict for outcome in refusals.heard]
    assert verdicts == [Succeeded(output_json=""), outcomes[1].verdict, replace(failure, raw_answer="")]
