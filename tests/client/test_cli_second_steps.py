"""The command line and jobs of two steps, with images elsewhere and bills that nobody knows."""

import pytest
from command_line import Cli, lines
from fake_answers import job_message
from fake_scheduler import FakeScheduler

from visionjobs.v1 import job_pb2

ADDRESS = "https://example.com/a.png?signature=SECRET"


async def test_a_second_step_is_asked_for_by_its_prompt_and_schema(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str
) -> None:
    asked = ("submit", photo, "--prompt", "Read.", "--schema", schema, "--post-process-prompt", "Judge.")

    result = await cli(*asked, "--post-process-schema", schema, "--post-process-model", "deepseek-v4-pro")

    assert result.exit_code == 0, result.stderr
    assert scheduler.requests[0].spec.post_process == job_pb2.PostProcess(
        model="deepseek-v4-pro", prompt="Judge.", response_schema_json='{"type":  "object"}'
    )


@pytest.mark.parametrize(
    ("given", "missing"),
    [("--post-process-prompt", "--post-process-schema"), ("--post-process-schema", "--post-process-prompt")],
)
async def test_half_of_a_second_step_is_refused(cli: Cli, photo: str, schema: str, given: str, missing: str) -> None:
    result = await cli("submit", photo, "--prompt", "Read.", "--schema", schema, given, schema)

    assert result.exit_code == 2
    assert missing in result.stderr


async def test_only_https_addresses_are_images(cli: Cli, scheduler: FakeScheduler, schema: str) -> None:
    result = await cli("submit", "http://example.com/a.png", "--prompt", "Read.", "--schema", schema)

    assert result.exit_code == 2
    assert "https" in result.stderr
    assert scheduler.requests == []


def two_steps() -> job_pb2.Job:
    attempts = [
        job_pb2.Attempt(attempt=1, step=1, outcome="SUCCEEDED", cost_usd=0.002, service_tier="FLEX"),
        job_pb2.Attempt(
            attempt=2, step=2, outcome="FAILED", cost_usd=0.001, flaw="SCHEMA_MISMATCH", output_path="items[0].total"
        ),
        job_pb2.Attempt(attempt=3, step=2, outcome="LOST", unanswered=True),
    ]
    spec = job_pb2.JobSpec(
        images=[job_pb2.Image(uri=ADDRESS, mime_type="image/png")],
        post_process=job_pb2.PostProcess(model="deepseek-v4-flash", prompt="Judge.", response_schema_json="{}"),
    )
    return job_message("j", "FAILED", spec=spec, attempts=attempts, cost_usd=0.003)


async def test_get_tells_step_cost_tier_and_flaw_of_each_attempt(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = two_steps()

    shown = (await cli("get", "j")).stdout.splitlines()

    assert {
        "Second step: deepseek-v4-flash",
        "Cost: $0.0030",
        "Images: https://example.com/a.png image/png",
        "Attempt 1, step 1: SUCCEEDED · $0.0020 · flex tier",
        "Attempt 2, step 2: FAILED · $0.0010 · schema mismatch at items[0].total",
        "Attempt 3, step 2: LOST · never answered, may have been billed",
    } <= set(shown)
    assert not any("SECRET" in line for line in shown)


async def test_json_has_all_of_a_job_of_two_steps(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = two_steps()

    [document] = lines(await cli("get", "j", "--json"))

    spec, attempts = document["spec"], document["attempts"]
    assert isinstance(spec, dict)
    assert isinstance(attempts, list)
    assert spec["post_process"] == {"prompt": "Judge.", "response_schema": {}, "model": "deepseek-v4-flash"}
    assert spec["images"][0]["uri"] == ADDRESS
    assert document["cost_usd"] == 0.003
    assert [attempt["unanswered"] for attempt in attempts] == [False, False, True]
