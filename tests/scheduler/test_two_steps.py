"""Jobs of two steps on their way through the use cases."""

import datetime
from typing import Any

import pytest
from scheduler_peers import USAGE, Executor, dial, failed, submission, succeeded
from scheduler_world import SECOND_LANE, SECOND_MODEL, World, fail_times, looping, settle
from stores import CLIENT, IMAGE_REF, LANE, NEW_IMAGE, insert, new_job

from devkit.virtual_time import in_virtual_time
from policies import prices
from policies.breaker import Breaker
from policies.quota import Limits
from scheduler.drafts import PostProcessDraft
from scheduler.errors import BreakerOpen, InvalidRequest
from scheduler.fleet import Assignment, OutcomeAck, Stop
from scheduler.jobs import AttemptOutcome, Generation, Job, JobState, PostProcess, Stage, WaitReason
from scheduler.outcomes import Outcome
from scheduler.records import AttemptId
from scheduler.submit import Submission

SECOND = PostProcess(model=SECOND_MODEL, prompt="Sum it up.", schema_json='{"type": "object"}', schema_is_struct=False)
BOTH = ("gemini/*", "deepseek/*")


async def submit_two_steps(world: World) -> str:
    """Submit a job of two steps, with an image for the first one."""
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock, images=(IMAGE_REF,), post_process=SECOND)])
    return job_id


def first_done(attempt: AttemptId, output_json: str = '{"a":1}') -> Outcome:
    return succeeded(attempt, output_json=output_json, step=1, steps=2)


def two_step_submission(**changes: Any) -> Submission:
    post_process = PostProcessDraft(model=SECOND_MODEL, prompt="Sum it up. " * 20, schema_json='{"type": "object"}')
    return submission(post_process=post_process, **changes)


async def in_second_step(world: World, executor: Executor, *, output_json: str = '{"a":1}') -> Assignment:
    """Bring a new job to its second step, and return what the executor gets then."""
    await submit_two_steps(world)
    await executor.offer(1)
    [first] = await executor.receive()
    await executor.tell(first_done(first, output_json))
    await executor.offer(1)
    [second] = await executor.hear(Assignment)
    executor.received += 1
    return second


async def told(executor: Executor) -> None:
    await executor.hear(OutcomeAck)


@in_virtual_time
async def test_the_first_step_goes_out_as_one_of_two() -> None:
    world = World()
    executor = await dial(world, slots=1)
    await submit_two_steps(world)
    async with world.running():
        [assignment] = await executor.hear(Assignment)

    assert (assignment.job.lane, assignment.job.step, assignment.steps) == (LANE, 1, 2)
    assert (assignment.spec.prompt, assignment.input_json) == ("What is this?", "")
    assert [*assignment.images] == [IMAGE_REF.sha256]


@in_virtual_time
async def test_after_the_first_step_a_job_goes_at_once_to_whoever_serves_the_second_one() -> None:
    world = World()
    first = await dial(world, "e1", slots=1, lanes=["gemini/*"])
    second = await dial(world, "e2", slots=1, lanes=["deepseek/*"])
    job_id = await submit_two_steps(world)
    async with world.running():
        [attempt] = await first.receive()
        await first.tell(first_done(attempt, output_json='{"total":7}'))
        [assignment] = await second.hear(Assignment)

        assert world.clock.monotonic() < 1
    assert (assignment.job.lane, assignment.job.step, assignment.steps) == (SECOND_LANE, 2, 2)
    assert (assignment.spec.prompt, assignment.input_json) == ("Sum it up.", '{"total":7}')
    assert (assignment.spec.images, assignment.images) == ((), {})
    assert world.hub.changed == [job_id]


@in_virtual_time
async def test_the_second_steps_answer_is_the_jobs_result_and_both_are_paid_for() -> None:
    world = World()
    executor = await dial(world, lanes=BOTH)
    async with world.running():
        second = await in_second_step(world, executor)
        await executor.tell(
            succeeded(second.job.attempt_id, output_json="[7]", step=2, steps=2, model_version=SECOND_MODEL)
        )
        await told(executor)
        await settle()
        job = await world.see(second.job.attempt_id.job_id)

    assert job.result is not None
    assert (job.state, job.step, job.result.output_json) == (JobState.SUCCEEDED, 2, "[7]")
    assert [(each.step, each.model) for each in job.attempts] == [(1, "gemini-3.8-flash"), (2, SECOND_MODEL)]
    assert job.result.cost_usd == sum(attempt.cost_usd for attempt in job.attempts)
    assert all(attempt.cost_usd > 0 for attempt in job.attempts)


@in_virtual_time
async def test_a_failed_second_step_is_tried_again_with_the_same_input_and_no_other_call() -> None:
    world = World()
    executor = await dial(world, lanes=BOTH)
    async with world.running():
        second = await in_second_step(world, executor)
        await executor.tell(failed(second.job.attempt_id, step=2, steps=2))
        await executor.offer(1)
        [again] = await executor.hear(Assignment)

    assert (again.job.step, again.input_json) == (2, second.input_json)
    assert again.job.attempt_id.attempt == 3


@in_virtual_time
async def test_a_success_of_the_first_step_that_comes_when_it_is_over_only_leaves_its_cost() -> None:
    world = World()
    slow, quick = await dial(world, "e1", slots=1), await dial(world, "e2", slots=0)
    await submit_two_steps(world)
    async with world.running():
        [lost] = await slow.receive()
        running = await world.store.running_on("e1", 1)
        await world.completer.lose(running, "Its executor was lost.")
        await quick.offer(1)
        [attempt] = await quick.receive()
        await quick.tell(first_done(attempt))
        await told(quick)
        await slow.tell(first_done(lost, output_json='{"b":2}'))
        await told(slow)
        job = await world.see(lost.job_id)
        outputs = await world.store.step_outputs([lost.job_id])

    assert (job.state, job.step) == (JobState.QUEUED, 2)
    assert outputs == {lost.job_id: '{"a":1}'}
    assert [attempt.cost_usd > 0 for attempt in job.attempts] == [True, True]


@in_virtual_time
async def test_a_late_success_of_the_first_step_stops_the_attempt_that_would_pay_for_it_again() -> None:
    world = World()
    slow, quick = await dial(world, "e1", slots=1), await dial(world, "e2", slots=0)
    await submit_two_steps(world)
    async with world.running():
        [lost] = await slow.receive()
        await world.completer.lose(await world.store.running_on("e1", 1), "Its executor was lost.")
        await quick.offer(1)
        [again] = await quick.receive()
        await slow.tell(first_done(lost))
        [stop] = await quick.hear(Stop)
        job = await world.see(lost.job_id)

    assert stop.attempt_id == again
    assert (job.state, job.step) == (JobState.QUEUED, 2)
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.SUCCEEDED, AttemptOutcome.CANCELLED]


@in_virtual_time
async def test_an_executor_that_holds_a_lost_attempt_at_the_first_step_gets_it_not_back_in_the_second() -> None:
    world = World()
    slow, quick = await dial(world, "e1", slots=1), await dial(world, "e2", slots=0)
    await submit_two_steps(world)
    async with world.running():
        [lost] = await slow.receive()
        await world.completer.lose(await world.store.running_on("e1", 1), "Its executor was lost.")
        await quick.offer(1)
        [again] = await quick.receive()
        await world.completer.lose(await world.store.running_on("e2", 1), "Its executor was lost, too.")
        await slow.tell(first_done(lost))
        await told(slow)
        await dial(world, "e2", held=[again])
        job = await world.see(lost.job_id)

    assert (job.state, job.step) == (JobState.QUEUED, 2)


@in_virtual_time
async def test_a_job_whose_input_cannot_be_read_waits_a_moment_and_goes_then() -> None:
    world = World()
    executor = await dial(world, lanes=BOTH)
    world.store.before["step_outputs"] = fail_times(1)
    async with world.running():
        second = await in_second_step(world, executor)
        job = await world.see(second.job.attempt_id.job_id)

        assert 1 <= world.clock.monotonic() < 3
    assert second.input_json == '{"a":1}'
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.SUCCEEDED, AttemptOutcome.RELEASED]
    assert job.retry_count == 0


@in_virtual_time
async def test_a_slot_is_free_for_others_while_an_input_cannot_be_read() -> None:
    world = World()
    executor = await dial(world, lanes=BOTH)
    await submit_two_steps(world)
    async with looping(world.dispatcher.run, world.completer.run):
        await executor.offer(1)
        [first] = await executor.receive()
        await executor.tell(first_done(first))
        await told(executor)
        world.store.before["step_outputs"] = fail_times(1)
        await executor.offer(1)
        await settle()

        assert executor.session.free_slots == 1
        assert executor.session.held == {}


@in_virtual_time
async def test_a_waiting_jobs_reason_is_that_of_the_lane_of_its_present_step() -> None:
    world = World()
    executor = await dial(world, slots=1, lanes=["gemini/*"])
    job_id = await submit_two_steps(world)
    async with world.running():
        [first] = await executor.receive()
        await executor.tell(first_done(first))
        await told(executor)
        job: Job = await world.read.job(CLIENT, job_id, attempts=False)

    assert job.wait is not None
    assert job.wait.reason is WaitReason.NO_EXECUTOR
    assert SECOND_LANE in job.wait.message


@in_virtual_time
async def test_a_job_that_will_not_wait_for_a_provider_is_refused_for_that_of_its_second_step_too() -> None:
    world = World()
    await world.set_lane(SECOND_LANE, breaker=Breaker(open_until=world.clock.now() + datetime.timedelta(minutes=1)))

    with pytest.raises(BreakerOpen) as refused:
        await world.submit.jobs(CLIENT, [two_step_submission(fail_fast=True)])

    assert refused.value.lane == SECOND_LANE


@in_virtual_time
async def test_a_second_step_that_its_lane_could_never_take_is_refused_with_its_path() -> None:
    world = World()
    await world.set_lane(SECOND_LANE, limits=Limits(input_tokens_per_minute=10))

    with pytest.raises(InvalidRequest) as refused:
        await world.submit.jobs(CLIENT, [two_step_submission()])

    assert [violation.path for violation in refused.value.violations] == ["spec.post_process"]


@in_virtual_time
async def test_the_second_step_reserves_for_what_the_first_one_gave() -> None:
    reserved = []
    for output_json in ("[]", f'["{"word " * 1_000}"]'):
        world = World()
        await world.set_lane(SECOND_LANE, limits=Limits(input_tokens_per_minute=100_000))
        executor = await dial(world, lanes=BOTH)
        async with world.running():
            second = await in_second_step(world, executor, output_json=output_json)
            reserved.append(executor.session.held[second.job.attempt_id].ask.tokens)

    assert reserved[1] > reserved[0] + 1_000


@in_virtual_time
async def test_the_tier_of_low_work_is_that_of_its_rank_when_it_goes_out() -> None:
    world = World(low_priority_tier="FLEX")
    executor = await dial(world, slots=1)
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock, priority=3)])
    async with world.running():
        [attempt] = await executor.receive()
        await world.store.raise_leader(job_id, 2)
        await executor.tell(failed(attempt))
        await executor.offer(1)
        [again] = await executor.hear(Assignment)

    assert again.spec.generation.service_tier == ""


@in_virtual_time
async def test_low_work_goes_out_in_the_cheap_tier() -> None:
    world = World(low_priority_tier="FLEX")
    executor = await dial(world, slots=2)
    await insert(world.store, CLIENT, [new_job(world.clock, priority=priority) for priority in (2, 3)])
    async with world.running():
        normal, low = await executor.hear(Assignment, 2)

    assert (normal.spec.generation.service_tier, low.spec.generation.service_tier) == ("", "FLEX")


@in_virtual_time
async def test_an_attempt_after_a_truncated_answer_asks_for_more_and_the_job_stays_as_it_was() -> None:
    world = World()
    executor = await dial(world, slots=1)
    generation = Generation(max_output_tokens=100)
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock, generation=generation)])
    async with world.running():
        [attempt] = await executor.receive()
        await executor.tell(failed(attempt, "INVALID_OUTPUT", flaw="TRUNCATED", paid=True))
        await executor.offer(1)
        [again] = await executor.hear(Assignment)
        job = await world.see(job_id)

    assert again.spec.generation.max_output_tokens == 200
    assert job.spec.generation == generation
    assert job.attempts[0].flaw == "TRUNCATED"


@in_virtual_time
async def test_an_operators_cap_on_paid_calls_ends_a_job() -> None:
    world = World(paid_cap=1)
    executor = await dial(world, slots=1)
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock)])
    async with world.running():
        [attempt] = await executor.receive()
        await executor.tell(failed(attempt, "TIMEOUT", paid=True, unanswered=True))
        await told(executor)
        job = await world.see(job_id)

    assert job.error is not None
    assert job.error.kind == "PAID_CALLS_EXHAUSTED"
    assert job.attempts[0].unanswered


@in_virtual_time
async def test_the_cap_holds_for_calls_whose_executors_were_lost_too() -> None:
    world = World(paid_cap=1)
    executor = await dial(world, slots=1)
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock)])
    async with world.running():
        [attempt] = await executor.receive()
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        await world.clock.sleep(1)
        await world.completer.lose(await world.store.find_running([attempt]), "Its executor was lost.")
        job = await world.see(job_id)

    assert job.error is not None
    assert job.error.kind == "PAID_CALLS_EXHAUSTED"


@in_virtual_time
async def test_a_success_of_the_second_step_from_elsewhere_costs_what_the_model_of_that_step_does() -> None:
    world = World()
    executor = await dial(world, lanes=BOTH)
    async with world.running():
        second = (await in_second_step(world, executor)).job.attempt_id
        other = await dial(world, "e2", lanes=BOTH)
        await other.tell(succeeded(second, step=2, steps=2, model_version="unheard-of"))
        await told(other)
        job = await world.see(second.job_id)

    assert job.attempts[1].cost_usd == prices.cost_usd(
        "unheard-of",
        asked=SECOND_MODEL,
        input_tokens=USAGE.input_tokens,
        output_tokens=USAGE.output_tokens,
        thinking_tokens=0,
        cached_tokens=0,
        day=world.clock.now().date(),
    )
