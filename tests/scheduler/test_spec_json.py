import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import CLIENT, IMAGE_REF, SPEC

from scheduler import spec_json
from scheduler.jobs import CachePolicy, Generation, ImageRef, PostProcess

OTHER_IMAGE = ImageRef(sha256="0" * 64, mime_type="image/png", size=1)
SECOND_STEP = PostProcess(
    model="deepseek-v4-flash", prompt="Sort it.", schema_json='{"type":"object"}', schema_is_struct=False
)
SOON = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


def key(client_id: str = CLIENT, **changes: Any) -> bytes | None:
    return spec_json.dedup_key(client_id, dataclasses.replace(SPEC, **changes))


@given(prompt=st.text(), labels=st.dictionaries(st.text(), st.text()), temperature=st.none() | st.floats(0, 2))
def test_a_spec_is_read_as_it_was_written(prompt: str, labels: dict[str, str], temperature: float | None) -> None:
    spec = dataclasses.replace(SPEC, prompt=prompt, labels=labels, generation=Generation(temperature=temperature))

    assert spec_json.decode(spec_json.encode(spec)) == spec


def test_white_space_in_the_schema_makes_no_other_request() -> None:
    tight, loose = (
        dataclasses.replace(SPEC, schema_json=text)
        for text in ('{"type":"object","a":1,"b":2}', '{ "type": "object",\n "a": 1, "b": 2 }')
    )

    assert spec_json.sha256(tight) == spec_json.sha256(loose)


def test_another_order_in_the_schema_makes_another_request() -> None:
    one, other = (dataclasses.replace(SPEC, schema_json=text) for text in ('{"a":1,"b":2}', '{"b":2,"a":1}'))

    assert spec_json.sha256(one) != spec_json.sha256(other)


def test_another_prompt_makes_another_request() -> None:
    assert spec_json.sha256(SPEC) != spec_json.sha256(dataclasses.replace(SPEC, prompt="Something else?"))


def test_two_specs_that_differ_in_anything_are_two_requests() -> None:
    assert spec_json.sha256(SPEC) != spec_json.sha256(dataclasses.replace(SPEC, labels={"a": "b"}))
    assert spec_json.sha256(SPEC) != spec_json.sha256(dataclasses.replace(SPEC, expire_time=SOON))


def test_the_order_of_labels_makes_no_other_request() -> None:
    one, other = (dataclasses.replace(SPEC, labels=labels) for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}))

    assert spec_json.sha256(one) == spec_json.sha256(other)


def test_another_client_shares_nothing() -> None:
    assert key("client") != key("somebody else")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "gemini-3.5-flash"},
        {"prompt": "What is that?"},
        {"prompt": "What is this? "},
        {"system_instruction": "Be brief."},
        {"schema_json": '{"type": "array"}'},
        {"images": (OTHER_IMAGE,)},
        {"images": (IMAGE_REF, IMAGE_REF)},
        {"images": (dataclasses.replace(IMAGE_REF, mime_type="image/webp"),)},
        {"generation": Generation(temperature=0.0)},
        {"generation": Generation(max_output_tokens=100)},
        {"generation": Generation(media_resolution="LOW")},
        {"generation": Generation(thinking_level="LOW")},
        {"generation": Generation(service_tier="FLEX")},
        {"post_process": SECOND_STEP},
    ],
)
def test_whatever_the_provider_sees_makes_another_call(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes", [{"model": "deepseek-v4-pro"}, {"prompt": "Sort them."}, {"schema_json": '{"type":"array"}'}]
)
def test_whatever_the_second_provider_sees_makes_another_call(changes: dict[str, Any]) -> None:
    other = dataclasses.replace(SECOND_STEP, **changes)

    assert key(post_process=other) != key(post_process=SECOND_STEP)


def test_white_space_in_the_second_steps_schema_makes_no_other_request() -> None:
    spaced = dataclasses.replace(SECOND_STEP, schema_json='{ "type": "object" }')

    assert key(post_process=spaced) == key(post_process=SECOND_STEP)
    one, other = (dataclasses.replace(SPEC, post_process=step) for step in (SECOND_STEP, spaced))
    assert spec_json.sha256(one) == spec_json.sha256(other) != spec_json.sha256(SPEC)
    assert spec_json.decode(spec_json.encode(other)) == other


def test_a_job_whose_image_is_somewhere_else_is_identical_to_none() -> None:
    elsewhere = ImageRef(sha256="", mime_type="", size=0, uri="https://example.com/a.png")

    assert key(images=(IMAGE_REF, elsewhere)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"schema_json": '{"a":1,"b":2}'}, {"schema_json": '{"b":2,"a":1}'}),
        ({"images": (IMAGE_REF, OTHER_IMAGE)}, {"images": (OTHER_IMAGE, IMAGE_REF)}),
        ({"prompt": "a", "system_instruction": "b"}, {"prompt": "b", "system_instruction": "a"}),
        ({"prompt": "ab", "system_instruction": ""}, {"prompt": "a", "system_instruction": "b"}),
    ],
)
def test_order_means_something_to_the_model(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(**one) != key(**other)


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 1},
        {"labels": {"a": "b"}},
        {"user_id": "another"},
        {"timeout": datetime.timedelta(minutes=1)},
        {"max_retries": 0},
        {"fail_fast": True},
        {"schedule_time": SOON},
        {"expire_time": SOON},
        {"cache": CachePolicy.REFRESH},
        {"schema_is_struct": True},
        {"schema_json": '{ "type":\n "object" }'},
        {"images": (dataclasses.replace(IMAGE_REF, size=0),)},
    ],
)
def test_what_the_provider_never_sees_makes_no_other_call(changes: dict[str, Any]) -> None:
    assert key(**changes) == key()


def test_who_wants_no_cache_has_no_key() -> None:
    assert key(cache=CachePolicy.OFF) is None
