"""Answers fit their schemas, whatever the real server accepts as one."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from devkit.emulator import json_schema, made_up_numbers, openapi_schema, proto_json
from devkit.emulator.answer import answer_text
from devkit.emulator.errors import ApiError
from devkit.emulator.subject import Subject
from policies import wire_schema

Schema = dict[str, Any]

NAMES = st.text("abcdeé .0", min_size=1, max_size=6)
FORMATS = ("date", "date-time", "time", "duration", "email", "hostname", "uri", "uuid", "ipv4", "ipv6")


def subject(seed: bytes = b"seed") -> Subject:
    return Subject(description="64x48 image, mostly #a33b21, rather dark", brightness=0.3, seed=seed)


def answer(schema: Schema, seed: bytes = b"seed") -> Any:
    return json.loads(answer_text(json_schema.checked(schema), subject(seed), wants_json=True))


def fits(schema: Schema, value: object) -> bool:
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)


@st.composite
def bounded(draw: st.DrawFn, kind: str) -> Schema:
    numbers = st.integers(-(10**12), 10**12) if kind == "integer" else st.floats(-1e12, 1e12)
    low, high = sorted((draw(numbers), draw(numbers)))
    bounds = draw(st.sampled_from([{}, {"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high}]))
    return {"type": kind, **bounds}


@st.composite
def lists(draw: st.DrawFn, parts: st.SearchStrategy[Schema]) -> Schema:
    schema: Schema = {"type": "array", "items": draw(parts)}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(parts, min_size=1, max_size=2))
    least, most = sorted((draw(st.integers(0, 4)), draw(st.integers(0, 4))))
    return schema | draw(
        st.sampled_from([{}, {"minItems": least}, {"maxItems": most}, {"minItems": least, "maxItems": most}])
    )


@st.composite
def objects(draw: st.DrawFn, parts: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(NAMES, parts, max_size=4))
    schema: Schema = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
        schema["propertyOrdering"] = draw(st.permutations(sorted(properties)))
    additional = draw(st.one_of(st.none(), st.booleans(), parts))
    return schema if additional is None else schema | {"additionalProperties": additional}


SCALARS = st.one_of(
    st.sampled_from([{"type": "string"}, {"type": "boolean"}, {"type": "null"}, {}, {"type": ["string", "null"]}]),
    st.sampled_from(FORMATS).map(lambda name: {"type": "string", "format": name}),
    st.lists(st.text(max_size=5), min_size=1, max_size=4).map(lambda choices: {"type": "string", "enum": choices}),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4).map(lambda choices: {"type": "integer", "enum": choices}),
    bounded("integer"),
    bounded("number"),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda parts: st.one_of(
        lists(parts), objects(parts), st.lists(parts, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices})
    ),
    max_leaves=12,
)


@given(SCHEMAS)
def test_an_answer_fits_its_schema(schema: Schema) -> None:
    value = answer(schema)

    assert fits(schema, value), value


@given(objects(SCALARS), st.lists(objects(SCALARS), min_size=1, max_size=3))
@settings(max_examples=200)
def test_alternatives_beside_properties_are_met_together_with_them(base: Schema, alternatives: list[Schema]) -> None:
    schema = base | {"anyOf": alternatives}
    try:
        value = answer(schema)
    except ApiError:
        assume(False)

    assert fits(schema, value), value


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(FLOATS, FLOATS, st.floats(0, 1))
def test_a_number_lies_between_its_bounds_however_far_apart_they_are(one: float, other: float, fraction: float) -> None:
    low, high = sorted((one, other))

    for bounds in ({"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high}):
        number = made_up_numbers.number(bounds, fraction)
        assert number is not None
        assert bounds.get("minimum", number) <= number <= bounds.get("maximum", number)


@given(SCHEMAS, st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_the_seed_alone_decides_and_another_one_changes_the_answer(schema: Schema, one: bytes, other: bytes) -> None:
    assume(one != other)
    wanted = {"type": "object", "properties": {"free": {"type": "string"}, "rest": schema}, "required": ["free"]}

    assert answer(wanted, one) == answer(wanted, one)
    assert answer(wanted, one)["free"] != answer(wanted, other)["free"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_room_for_two_different_answers(name: str) -> None:
    schema = {"type": "string", "format": name}

    assert answer(schema, b"one") != answer(schema, b"two")


def test_null_is_answered_only_where_nothing_else_fits() -> None:
    assert answer({"anyOf": [{"type": "null"}, {"type": "boolean"}]}) is not None
    assert answer({"type": ["null", "integer"]}) is not None
    assert answer({"type": "null"}) is None


def test_a_number_between_two_bounds_measures_the_brightness() -> None:
    schema = {"type": "number", "minimum": 0, "maximum": 1}

    assert all(0.2 < answer(schema, bytes([seed])) < 0.4 for seed in range(50))


def test_keys_without_an_ordering_come_as_the_schema_has_them() -> None:
    schema = {"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}}

    assert list(answer(schema)) == ["b", "a"]


def test_a_tree_is_answered_with_one_that_ends() -> None:
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name", "children"],
    }
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}

    value = answer(schema)

    assert fits(schema, value)
    assert value["children"] == []


def test_a_schema_that_refers_to_itself_leaves_the_property_out() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#"}}}

    assert list(answer(schema)) == ["name"]


def test_a_reference_follows_an_anchor_and_an_escaped_pointer() -> None:
    schema = {
        "type": "object",
        "properties": {"one": {"$ref": "#here"}, "two": {"$ref": "#/$defs/a~1b"}},
        "$defs": {"a/b": {"type": "integer"}, "other": {"$anchor": "here", "type": "boolean"}},
    }

    value = answer(schema)

    assert isinstance(value["one"], bool)
    assert isinstance(value["two"], int)


def test_the_schema_that_the_executor_derives_is_accepted_and_its_answer_fits() -> None:
    line = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "."},
            "price": {"type": "number", "exclusiveMinimum": -1, "multipleOf": 0.01},
        },
        "required": ["text", "price"],
        "additionalProperties": False,
    }
    full = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"line": line},
        "properties": {
            "kind": {"const": "receipt"},
            "number": {"type": ["string", "null"], "default": None},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "uniqueItems": True, "maxItems": 5_000},
            "total": {"oneOf": [{"type": "number"}, {"type": "string", "format": "decimal"}]},
        },
        "required": ["kind", "lines"],
        "not": {"required": ["lies"]},
    }
    derived = wire_schema.derive(full)

    value = answer(derived)

    assert fits(derived, value)
    assert value["kind"] == "receipt"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 0.2, "maximum": 0.8},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 1},
        {"type": "string", "enum": [1]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "anyOf": [{"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_that_nothing_fits_is_refused(schema: Schema) -> None:
    with pytest.raises(ApiError, match=r"Request contains an invalid argument\."):
        answer(schema)


def test_an_answer_without_end_is_refused() -> None:
    with pytest.raises(ApiError, match="too many states for serving"):
        answer({"type": "array", "items": {"type": "integer"}, "minItems": 10**9})


def test_a_search_without_end_is_refused() -> None:
    levels: Schema = {f"level{index}": {"anyOf": [{"$ref": f"#/$defs/level{index + 1}"}] * 9} for index in range(9)}
    levels["level9"] = {"type": "integer"}

    with pytest.raises(ApiError, match="too many states for serving"):
        answer({"type": "string", "anyOf": [{"$ref": "#/$defs/level0"}], "$defs": levels})


class TestOfResponseSchema:
    """The OpenAPI dialect, from the wire to the answer."""

    def answer(self, schema: Schema) -> Any:
        message = proto_json.read_message("Schema", schema)
        return json.loads(answer_text(openapi_schema.to_json_schema(message), subject(), wants_json=True))

    def test_keys_come_in_alphabetical_order(self) -> None:
        schema = {"type": "OBJECT", "properties": {"b": {"type": "BOOLEAN"}, "a": {"type": "BOOLEAN"}}}

        assert list(self.answer(schema)) == ["a", "b"]

    def test_an_ordering_is_kept(self) -> None:
        members = {name: {"type": "BOOLEAN"} for name in "abc"}

        value = self.answer({"type": "OBJECT", "properties": members, "property_ordering": ["c", "a", "b"]})

        assert list(value) == ["c", "a", "b"]

    @pytest.mark.parametrize(("least", "most"), [(0, 100), (0, 30), (0, 5), (90, 90), (500, 500), (0, 0)])
    def test_lengths_are_kept(self, least: int, most: int) -> None:
        value = self.answer({"type": "STRING", "minLength": str(least), "maxLength": most})

        assert least <= len(value) <= most

    def test_a_nullable_value_is_given(self) -> None:
        assert isinstance(self.answer({"type": "INTEGER", "nullable": True, "minimum": 3, "maximum": 3}), int)

    def test_the_number_of_properties_is_kept(self) -> None:
        members = {name: {"type": "BOOLEAN"} for name in "abc"}

        few = self.answer({"type": "OBJECT", "properties": members, "required": ["b"], "maxProperties": 2})
        many = self.answer({"type": "OBJECT", "properties": members, "minProperties": 5})

        assert set(few) == {"a", "b"}
        assert len(many) == 5

    @pytest.mark.parametrize(
        ("schema", "problem"),
        [
            ({"type": "OBJECT"}, "properties: should be non-empty for OBJECT type"),
            ({"type": "ARRAY"}, "items: missing field."),
            ({"type": "INTEGER", "enum": ["1"]}, "enum: only allowed for STRING type"),
            ({"type": "STRING", "format": "uuid"}, "format: only 'enum' and 'date-time' are supported for STRING type"),
            (
                {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a", "b"]},
                "required[1]: property is not defined",
            ),
        ],
    )
    def test_what_the_real_server_refuses_is_refused_with_its_path(self, schema: Schema, problem: str) -> None:
        with pytest.raises(ApiError) as refused:
            self.answer(schema)

        path = "GenerateContentRequest.generation_config.response_schema"
        assert refused.value.message.strip() == f"* {path}.{problem}"
