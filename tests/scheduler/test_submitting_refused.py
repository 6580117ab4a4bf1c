"""A submission is refused with its path if the provider refused its schema or an image again and again."""

import dataclasses
import hashlib

import pytest
from scheduler_peers import PNG, submission
from scheduler_world import World
from stores import CLIENT, LANE, SPEC

from devkit.virtual_time import in_virtual_time
from scheduler.drafts import ImageDraft
from scheduler.errors import InvalidRequest
from scheduler.jobs import ImageRef, JobError
from scheduler.outcomes import Failed, Outcome
from scheduler.records import AttemptId, JobQuery
from scheduler.refusals import RefusalRules
from scheduler.submit import Submission

SHA256 = hashlib.sha256(PNG).hexdigest()


async def note(world: World, failed: Failed, schema_json: str, times: int) -> None:
    image = ImageRef(sha256=SHA256, mime_type="image/png", size=len(PNG))
    spec = dataclasses.replace(SPEC, schema_json=schema_json, images=(image,))
    outcome = Outcome(
        attempt_id=AttemptId("job", 1),
        verdict=failed,
        usage=None,
        model_version="",
        stage_seconds={},
        paid=False,
        traceparent="",
    )
    for _ in range(times):
        await world.refusals.note(outcome, CLIENT, spec)


async def refused(world: World, *submissions: Submission) -> list[str]:
    with pytest.raises(InvalidRequest) as refusal:
        await world.submit.jobs(CLIENT, submissions)
    assert await world.store.list_ids(CLIENT, JobQuery(labels={}), before=None, limit=10) == []
    return [violation.path for violation in refusal.value.violations]


@in_virtual_time
async def test_a_stopped_schema_is_refused_for_its_client_and_lane_alone() -> None:
    world = World()
    schema = submission().draft.schema_json or ""
    failed = Failed(JobError(kind="BAD_REQUEST", message="400", retryable=False), schema_suspected=True)
    await note(world, failed, schema, RefusalRules().schema_failures)
    assert world.refusals.refusal_of_schema(CLIENT, schema, LANE) is not None

    assert await refused(world, submission(path="requests[0]")) == ["requests[0].spec.response_schema_json"]
    assert len(await world.submit.jobs("another", [submission()])) == 1
    assert len(await world.submit.jobs(CLIENT, [submission(schema_json='{"type": "object", "title": "x"}')])) == 1


@in_virtual_time
async def test_an_image_in_quarantine_is_refused_as_bytes_and_by_its_hash() -> None:
    world = World()
    failed = Failed(JobError(kind="BAD_IMAGE", message="400", retryable=False), image_sha256=SHA256)
    await note(world, failed, "{}", RefusalRules().image_refusals)

    assert await refused(world, submission()) == ["spec.images[0].data"]
    other = ImageDraft(data=PNG + b"more")
    by_hash = submission(images=(other, ImageDraft(sha256=SHA256)))
    assert await refused(world, by_hash) == ["spec.images[1].sha256"]
    assert len(await world.submit.jobs("another", [submission()])) == 1
