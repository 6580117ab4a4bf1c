"""Specs with a second step, service tiers and images elsewhere: from the wire to the domain and back."""

import datetime
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from stores import IMAGE_REF, MODEL

from devkit.virtual_time import EPOCH
from scheduler import wire
from scheduler.errors import Violation
from scheduler.jobs import Generation, ImageRef, JobSpec, PostProcess
from scheduler.rpc.mapping import spec_draft
from scheduler.validation import CheckedSpec, Defaults, check_spec
from visionjobs.v1 import job_pb2

SCHEMA = '{"type":"object","properties":{"verdict":{"type":"string"}}}'
DEFAULTS = Defaults(models=(MODEL,), model=MODEL)
Step = job_pb2.PostProcess


def sent(**changes: Any) -> job_pb2.JobSpec:
    fields: dict[str, Any] = {
        "user_id": "user",
        "images": [job_pb2.Image(sha256=IMAGE_REF.sha256)],
        "prompt": "What is this?",
        "response_schema_json": SCHEMA,
    }
    return job_pb2.JobSpec(**fields | changes)


def checked(message: job_pb2.JobSpec, defaults: Defaults = DEFAULTS) -> CheckedSpec | list[Violation]:
    return check_spec(spec_draft(message), "spec", defaults, now=EPOCH)


def spec_of(message: job_pb2.JobSpec, defaults: Defaults = DEFAULTS) -> JobSpec:
    found = checked(message, defaults)
    assert isinstance(found, CheckedSpec), found
    return found.spec


def test_a_second_step_is_taken_as_it_was_sent() -> None:
    message = sent(post_process=Step(model="deepseek-v4-pro", prompt="Judge it.", response_schema_json=SCHEMA))

    spec = spec_of(message)

    assert spec.post_process == PostProcess(
        model="deepseek-v4-pro", prompt="Judge it.", schema_json=SCHEMA, schema_is_struct=False
    )
    assert spec.lanes == (f"gemini/{MODEL}", "deepseek/deepseek-v4-pro")


def test_a_job_without_one_has_one_lane() -> None:
    assert spec_of(sent()).lanes == (f"gemini/{MODEL}",)


def test_a_second_step_that_names_no_model_gets_the_first_one() -> None:
    message = sent(post_process=Step(prompt="p", response_schema_json=SCHEMA))

    for models in (("deepseek-v4-flash", "deepseek-v4-pro"), ("deepseek-v5",)):
        found = spec_of(message, Defaults(models=(MODEL,), model=MODEL, deepseek_models=models)).post_process
        assert found is not None
        assert found.model == models[0]


def test_a_struct_as_its_schema_goes_back_as_one() -> None:
    schema = struct_pb2.Struct()
    json_format.Parse('{"type": "object", "maxProperties": 3}', schema)
    message = sent(post_process=Step(prompt="p", response_schema=schema))

    spec = spec_of(message)

    assert spec.post_process is not None
    assert spec.post_process.schema_json == '{"maxProperties": 3, "type": "object"}'
    assert wire.spec_to_proto(spec, full=True).post_process.response_schema == schema


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (Step(), "spec.post_process.prompt"),
        (Step(prompt=" \n", response_schema_json=SCHEMA), "spec.post_process.prompt"),
        (Step(prompt="a\x00", response_schema_json=SCHEMA), "spec.post_process.prompt"),
        (Step(prompt="x" * (256 * 1024 + 1), response_schema_json=SCHEMA), "spec.post_process.prompt"),
        (Step(prompt="p"), "spec.post_process.response_schema_json"),
        (Step(prompt="p", response_schema_json="{"), "spec.post_process.response_schema_json"),
        (Step(prompt="p", response_schema=struct_pb2.Struct()), "spec.post_process.response_schema"),
        (
            Step(prompt="p", response_schema_json='{"type": "object", "$ref": "#/nowhere"}'),
            "spec.post_process.response_schema_json.$ref",
        ),
        (Step(prompt="p", response_schema_json=SCHEMA, model=MODEL), "spec.post_process.model"),
    ],
)
def test_what_is_wrong_with_a_second_step_is_named_with_its_path(step: Step, path: str) -> None:
    found = checked(sent(post_process=step))

    assert isinstance(found, list)
    assert path in [each.path for each in found]
    assert all(each.path.startswith("spec.post_process.") for each in found)


def test_as_much_as_is_allowed_may_be_asked_of_a_second_step() -> None:
    spec_of(sent(post_process=Step(prompt="x" * 256 * 1024, response_schema_json=SCHEMA)))


FIVE, TWENTY = datetime.timedelta(minutes=5), datetime.timedelta(minutes=20)


@pytest.mark.parametrize(
    ("priority", "tier", "low_priority_tier", "timeout"),
    [
        (0, "", "FLEX", FIVE),
        (3, "", "FLEX", TWENTY),
        (3, "", "STANDARD", FIVE),
        (3, "STANDARD", "FLEX", FIVE),
        (3, "PRIORITY", "FLEX", FIVE),
        (1, "FLEX", "STANDARD", TWENTY),
        (1, "service_tier_flex", "STANDARD", TWENTY),
    ],
)
def test_the_flex_tier_may_take_longer_by_default(
    priority: int, tier: str, low_priority_tier: str, timeout: datetime.timedelta
) -> None:
    defaults = Defaults(models=(MODEL,), model=MODEL, low_priority_tier=low_priority_tier)
    message = sent(priority=priority, generation=job_pb2.Generation(service_tier=tier))

    assert spec_of(message, defaults).timeout == timeout
    message.timeout.FromSeconds(60)
    assert spec_of(message, defaults).timeout == datetime.timedelta(minutes=1)


def test_a_tier_that_was_not_asked_for_stays_unsaid() -> None:
    assert spec_of(sent(priority=3)).generation == Generation()


def stored(**changes: Any) -> JobSpec:
    return spec_of(sent(post_process=Step(prompt="Judge it.", response_schema_json=SCHEMA), **changes))


def test_only_the_full_view_has_prompt_and_schema_of_the_second_step() -> None:
    full, basic = (wire.spec_to_proto(stored(), full=full).post_process for full in (True, False))

    assert (full.model, full.prompt, full.response_schema_json) == ("deepseek-v4-flash", "Judge it.", SCHEMA)
    assert basic == Step(model="deepseek-v4-flash")
    assert not wire.spec_to_proto(spec_of(sent()), full=True).HasField("post_process")


@pytest.mark.parametrize("secret", ["?signature=secret", "#secret", "?a=1#secret", "?a?secret"])
def test_only_the_full_view_has_what_follows_the_path_of_an_address(secret: str) -> None:
    image = ImageRef(sha256="", mime_type="image/png", size=0, uri=f"https://example.com:8443/a/b.png{secret}")

    assert wire.image_to_proto(image) == job_pb2.Image(uri=image.uri, mime_type="image/png")
    assert wire.image_to_proto(image, full=False).uri == "https://example.com:8443/a/b.png"
