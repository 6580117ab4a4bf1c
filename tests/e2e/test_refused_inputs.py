"""What the provider refuses again and again is stopped by what it is, not job by job."""

from collections.abc import Callable

import pytest
from fleet_calls import Fleet, finished
from system_calls import SCHEMA

from visionjobs import Image, InvalidArgument, JobSpec, JobState

RequestFor = Callable[..., JobSpec]

MODEL = "gemini-3.7-flash"
ODD_SCHEMA = '{"type": "object", "properties": {"odd": {"type": "string"}}, "required": ["odd"]}'


async def test_a_schema_that_meets_bare_400s_is_stopped_and_other_schemas_go_on(
    fleet: Fleet, request_for: RequestFor, photograph: bytes
) -> None:
    first, second = fleet.clients
    await fleet.emulator.script("400", model=MODEL, count=5)
    image = [Image(data=photograph)]

    def odd(prompt: str) -> JobSpec:
        return JobSpec(user_id="e2e", images=image, prompt=prompt, response_schema=ODD_SCHEMA, model=MODEL)

    for number in range(5):
        [failed] = await finished(first, [(await first.submit(odd(f"Odd? {number}"))).job_id])
        assert failed.state is JobState.FAILED
        assert failed.error is not None
        assert failed.error.kind == "BAD_REQUEST"
    with pytest.raises(InvalidArgument) as refused:
        await first.submit(odd("Odd? Once more"))
    job = await second.submit(request_for("Not odd?", model=MODEL))
    [other] = await finished(second, [job.job_id])

    assert [each.path for each in refused.value.violations] == ["spec.response_schema_json"]
    assert other.state is JobState.SUCCEEDED
    assert await fleet.emulator.calls(prompt="Odd? Once more") == []


async def test_an_image_that_cannot_be_read_costs_nothing_and_is_quarantined_by_its_hash(
    fleet: Fleet, photograph: bytes
) -> None:
    client = fleet.clients[0]
    broken = photograph[: len(photograph) // 2]
    before = len(await fleet.emulator.calls())

    def spec(prompt: str) -> JobSpec:
        return JobSpec(
            user_id="e2e",
            images=[Image(data=broken)],
            prompt=prompt,
            response_schema=SCHEMA,
            model=MODEL,
        )

    for number in range(2):
        [failed] = await finished(client, [(await client.submit(spec(f"Broken? {number}"))).job_id])
        assert failed.state is JobState.FAILED
        assert failed.error is not None
        assert failed.error.kind == "BAD_IMAGE"
        assert not failed.error.retryable
        assert failed.cost_usd == 0.0
    with pytest.raises(InvalidArgument) as refused:
        await client.submit(spec("Broken? Once more"))

    assert [each.path for each in refused.value.violations] == ["spec.images[0].data"]
    assert len(await fleet.emulator.calls()) == before
