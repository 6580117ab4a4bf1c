import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.validation import InvalidOutput, UnusableSchema, Validators
from policies.ladder import Flaw

SCHEMA = json.dumps(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
            "name": {"type": "string", "maxLength": 5},
        },
    }
)
ANYTHING = "{}"


def validated(text: str, schema: str = SCHEMA) -> str:
    return Validators().of(schema).validate(text)


def test_a_valid_answer_becomes_compact_and_keeps_its_order() -> None:
    assert validated('{ "name": "Zoë",\n "items": [ {"price": 1.50} ] }') == '{"name":"Zoë","items":[{"price":1.5}]}'


def test_a_mismatch_is_told_with_its_path() -> None:
    with pytest.raises(InvalidOutput, match=r"^items\[1\]\.price: "):
        validated('{"items": [{"price": 1}, {"price": "dear"}]}')


def test_what_the_model_was_not_told_is_checked_too() -> None:
    with pytest.raises(InvalidOutput, match=r"^name: "):
        validated('{"name": "too long"}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "```json\n{}",
        "```python\n{}\n```",
        "```",
        "``````",
        "Here it is:\n```json\n{}\n```",
        '{"a": 1',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        "[" * 100_000,
        '{"a": ' + "9" * 5_000 + "}",
    ],
)
def test_what_is_not_json_or_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(InvalidOutput):
        validated(text, ANYTHING)


def test_each_flaw_is_told_apart_with_its_path() -> None:
    with pytest.raises(InvalidOutput) as mismatch:
        validated('{"items": [{"price": "dear"}]}')
    with pytest.raises(InvalidOutput) as broken:
        validated('{"items": [')

    assert (mismatch.value.flaw, mismatch.value.path) == (Flaw.SCHEMA_MISMATCH, "items[0].price")
    assert (broken.value.flaw, broken.value.path) == (Flaw.NOT_JSON, "")


def test_what_the_answer_says_is_not_quoted() -> None:
    with pytest.raises(InvalidOutput) as caught:
        validated('{"name": "a secret of the picture"}')

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", " \n```JSON \r\n{}```\n"])
def test_an_answer_that_stands_whole_in_a_fence_is_taken_out_of_it(fence: str) -> None:
    assert validated(fence.replace("{}", '{"name": "Zoë"}')) == '{"name":"Zoë"}'


def test_what_is_in_a_fence_must_satisfy_the_schema_too() -> None:
    with pytest.raises(InvalidOutput, match=r"name: "):
        validated('```json\n{"name": "too long"}\n```')


@given(path=st.lists(st.text(max_size=300) | st.integers(0, 10**9), min_size=1, max_size=300))
def test_path_and_message_are_bounded(path: list[str | int]) -> None:
    document: object = 5
    schema: object = {"type": "string"}
    for step in reversed(path[:50]):
        document = {str(step): document}
        schema = {"properties": {str(step): schema}}

    with pytest.raises(InvalidOutput) as caught:
        validated(json.dumps(document), json.dumps(schema))

    assert len(str(caught.value)) <= 500
    assert len(caught.value.path) <= 256


@pytest.mark.parametrize(
    "schema", ["", "[]", "{", '{"$ref": "file:///etc/passwd"}', '{"type": "strin"}', '{"pattern": "("}']
)
def test_a_schema_that_cannot_be_used_is_told(schema: str) -> None:
    with pytest.raises(UnusableSchema):
        Validators().of(schema)


def test_a_schema_is_never_fetched_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text('{"type": "object"}')

    with pytest.raises(UnusableSchema):
        Validators().of(json.dumps({"$ref": f"file://{tmp_path}/elsewhere.json"}))


def test_a_pattern_that_would_take_for_ever_does_not() -> None:
    schema = '{"properties": {"a": {"pattern": "^(a+)+$"}}}'

    with pytest.raises(InvalidOutput, match=r"^a: "):
        validated(json.dumps({"a": "a" * 50_000 + "!"}), schema)


def test_the_latest_used_schemas_stay_compiled() -> None:
    validators = Validators(max_compiled=2)
    first = validators.of('{"title": "1"}')
    second = validators.of('{"title": "2"}')
    assert validators.of('{"title": "1"}') is first

    validators.of('{"title": "3"}')

    assert validators.of('{"title": "1"}') is first
    assert validators.of('{"title": "2"}') is not second


@given(text=st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_whatever_makes_it_raise_anything_else(text: str) -> None:
    try:
        output = validated(text, ANYTHING)
    except InvalidOutput:
        return
    assert json.loads(output) == json.loads(text)
