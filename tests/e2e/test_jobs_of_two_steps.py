"""A job of two steps: Gemini reads the image, DeepSeek reworks what it read, and neither is paid for the other's faults."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fleet_calls import Fleet, finished

from visionjobs import InvalidArgument, JobSpec, JobState, PostProcess

MODEL = "deepseek-v4-flash"
VERDICT = (
    '{"type": "object", "properties": {"verdict": {"type": "string"}, "sure": {"type": "boolean"}},'
    ' "required": ["verdict", "sure"]}'
)
RequestFor = Callable[..., JobSpec]


def in_two_steps(prompt: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "post_process": PostProcess(model=MODEL, prompt=f"Judge this: {prompt}", response_schema=VERDICT),
    }


async def test_the_second_step_gives_the_result_and_both_are_on_the_bill(fleet: Fleet, request_for: RequestFor) -> None:
    client = fleet.clients[0]
    job = await client.submit(request_for(**in_two_steps("What is it worth?")))

    [done] = await finished(client, [job.job_id])

    assert done.state is JobState.SUCCEEDED
    assert done.result is not None
    assert sorted(json.loads(done.result.output_json)) == ["sure", "verdict"]
    assert [(attempt.step, attempt.outcome) for attempt in done.attempts] == [(1, "SUCCEEDED"), (2, "SUCCEEDED")]
    assert [attempt.model for attempt in done.attempts] == ["gemini-3.8-flash", MODEL]
    assert all(attempt.cost_usd > 0 for attempt in done.attempts)
    assert done.cost_usd == sum(attempt.cost_usd for attempt in done.attempts)
    assert done.result.model_version.startswith(MODEL)


async def test_a_second_step_that_fails_is_tried_again_and_gemini_is_paid_once(
    fleet: Fleet, request_for: RequestFor
) -> None:
    client = fleet.clients[0]
    await fleet.emulator.script("503", model=MODEL, count=2)
    job = await client.submit(request_for(**in_two_steps("Paid once?")))

    [done] = await finished(client, [job.job_id])

    assert done.state is JobState.SUCCEEDED
    assert [attempt.step for attempt in done.attempts] == [1, 2, 2, 2]
    assert done.retry_count == 2
    gemini = await fleet.emulator.calls(prompt=job.spec.prompt)
    assert len(gemini) == 1


async def test_a_job_that_failed_in_its_second_step_is_done_again_from_there(
    fleet: Fleet, request_for: RequestFor
) -> None:
    client = fleet.clients[0]
    await fleet.emulator.script("422", model=MODEL, count=1)
    job = await client.submit(request_for(**in_two_steps("From there?")))
    [failed] = await finished(client, [job.job_id])
    assert failed.state is JobState.FAILED
    assert failed.step == 2

    again = await client.retry(job.job_id)
    [done] = await finished(client, [again.job_id])

    assert done.state is JobState.SUCCEEDED
    assert [attempt.step for attempt in done.attempts] == [2]
    assert len(await fleet.emulator.calls(prompt=job.spec.prompt)) == 1


async def test_identical_jobs_of_two_steps_pay_for_both_steps_once(fleet: Fleet, request_for: RequestFor) -> None:
    first, second = fleet.clients
    await fleet.emulator.script("hold", model=MODEL, count=1)
    jobs = [await client.submit(request_for(**in_two_steps("Together?"))) for client in (first, second, first)]
    before = len(await fleet.emulator.bills(model=MODEL))
    await fleet.emulator.calls(prompt=jobs[0].spec.prompt, count=1)
    await fleet.emulator.release()

    done = await finished(first, [job.job_id for job in jobs])

    assert [job.state for job in done] == [JobState.SUCCEEDED] * 3
    assert len({job.result.output_json for job in done if job.result}) == 1
    assert sorted(job.cost_usd > 0 for job in done) == [False, False, True]
    assert len(await fleet.emulator.calls(prompt=jobs[0].spec.prompt)) == 1
    assert len(await fleet.emulator.bills(model=MODEL)) == before + 1


async def test_a_bad_schema_of_the_second_step_is_named_with_its_path(fleet: Fleet, request_for: RequestFor) -> None:
    broken = PostProcess(model=MODEL, prompt="Judge", response_schema='{"type": "object", "$ref": "#/nowhere"}')

    with pytest.raises(InvalidArgument) as refused:
        await fleet.clients[0].submit(request_for("Bad?", post_process=broken))

    assert [each.path for each in refused.value.violations] == ["spec.post_process.response_schema_json.$ref"]
