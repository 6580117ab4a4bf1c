import json
from collections.abc import Callable
from typing import Any

import pytest

from policies.wire_schema import UnderivableSchema, derive


def refusal(schema: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(UnderivableSchema) as raised:
        derive(schema)
    return raised.value.path, raised.value.message


def test_references_are_inlined_wherever_the_definitions_stand() -> None:
    schema = {
        "type": "object",
        "properties": {
            "seller": {"$ref": "#/$defs/Party"},
            "buyer": {"$ref": "#/definitions/Old"},
            "third": {"$ref": "#/properties/seller"},
        },
        "$defs": {
            "Party": {"type": "object", "properties": {"name": {"$ref": "#/$defs/Name"}}},
            "Name": {"type": "string"},
        },
        "definitions": {"Old": {"type": "integer"}},
    }

    wire = derive(schema)

    party = {"type": "object", "properties": {"name": {"type": "string"}}, "propertyOrdering": ["name"]}
    assert wire == {
        "type": "object",
        "properties": {"seller": party, "buyer": {"type": "integer"}, "third": party},
        "propertyOrdering": ["seller", "buyer", "third"],
    }


def test_a_reference_at_the_root_is_inlined() -> None:
    schema = {"$ref": "#/$defs/Doc", "$defs": {"Doc": {"type": "object", "properties": {"a": {"type": "string"}}}}}

    assert derive(schema) == {"type": "object", "properties": {"a": {"type": "string"}}, "propertyOrdering": ["a"]}


def test_words_beside_a_reference_win_over_those_of_its_target() -> None:
    schema = {"$ref": "#/$defs/a", "description": "here", "$defs": {"a": {"type": "string", "description": "there"}}}

    assert derive(schema) == {"type": "string", "description": "here"}


def test_what_stands_beside_a_reference_holds_too() -> None:
    schema = {"$ref": "#/$defs/a", "maximum": 9, "$defs": {"a": {"type": "integer", "minimum": 1}}}

    assert derive(schema) == {"type": "integer", "minimum": 1, "maximum": 9}


def test_a_recursive_reference_is_refused_where_it_closes_the_circle() -> None:
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
    schema = {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}

    path, message = refusal(schema)

    assert path == "$defs.Node.properties.children.items.$ref"
    assert "'#/$defs/Node' leads back to itself" in message


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"$ref": "#"}}}, "properties.a.$ref"),
        ({"$ref": "#"}, "$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$defs.b.$ref"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "allOf[0].$ref"),
        ({"properties": {"a": {"properties": {"b": {"$ref": "#/properties/a"}}}}}, "properties.a.properties.b.$ref"),
    ],
)
def test_every_kind_of_circle_is_refused(schema: dict[str, Any], path: str) -> None:
    assert refusal(schema)[0] == path


def test_the_same_definition_may_be_used_twice() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "null"}}}

    assert derive(schema)["properties"] == {"a": {"type": "null"}, "b": {"type": "null"}}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"items": {"$ref": "#/$defs/none"}}, "items.$ref"),
        ({"items": {"$ref": "https://example.com/x"}}, "items.$ref"),
        ({"items": {"$ref": "#name"}, "$defs": {"a": {"$anchor": "name"}}}, "items.$ref"),
        ({"items": {"$ref": "#/title"}, "title": "text"}, "title"),
        ({"items": {"$dynamicRef": "#x"}}, "items.$dynamicRef"),
        ({"items": {"$id": "https://example.com/x", "type": "string"}}, "items.$id"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a"}], "$defs": {"a": False}}, "$defs.a"),
    ],
)
def test_a_reference_that_cannot_be_inlined_is_refused_with_its_path(schema: dict[str, Any], path: str) -> None:
    assert refusal(schema)[0] == path


def test_the_order_of_the_properties_is_made_explicit() -> None:
    schema: dict[str, Any] = {"properties": {"zebra": {}, "ant": {}, "mouse": {"properties": {"b": {}, "a": {}}}}}

    wire: dict[str, Any] = derive(schema)

    assert wire["propertyOrdering"] == ["zebra", "ant", "mouse"]
    assert wire["properties"]["mouse"]["propertyOrdering"] == ["b", "a"]


def test_an_order_that_was_given_is_kept_and_completed() -> None:
    schema = {"properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "unknown", "a"]}

    assert derive(schema)["propertyOrdering"] == ["c", "a", "b"]


def test_an_order_that_is_not_a_list_of_names_is_refused() -> None:
    assert refusal({"properties": {"a": {}}, "propertyOrdering": [["a"]]})[0] == "propertyOrdering"
    assert refusal({"properties": {"a": {}}, "propertyOrdering": "a"})[0] == "propertyOrdering"


@pytest.mark.parametrize(
    ("schema", "wire"),
    [
        ({"const": "a"}, {"enum": ["a"]}),
        ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": 1.5}, {"enum": [1.5]}),
        ({"const": True}, {"type": "boolean"}),
        ({"const": None}, {"type": "null"}),
        ({"const": {"a": 1}}, {"type": "object"}),
        ({"const": [1]}, {"type": "array"}),
        ({"enum": ["a", 1]}, {"enum": ["a", 1]}),
        ({"enum": ["a", None]}, {"anyOf": [{"enum": ["a"]}, {"type": "null"}]}),
        ({"enum": [True, False]}, {"type": "boolean"}),
        ({"enum": [True, None]}, {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        ({"type": "string", "enum": ["a", None]}, {"type": "string", "enum": ["a"]}),
        ({"type": "integer", "enum": [1, 2.0, 2.5, True]}, {"type": "integer", "enum": [1, 2.0]}),
        ({"type": "number", "enum": [1, 2.5, "a"]}, {"type": "number", "enum": [1, 2.5]}),
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        (
            {"type": ["string", "null"], "enum": ["a", None], "description": "d"},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}], "description": "d"},
        ),
    ],
)
def test_values_are_said_in_enums_of_strings_and_numbers(schema: dict[str, Any], wire: dict[str, Any]) -> None:
    assert derive(schema) == wire


@pytest.mark.parametrize(
    ("schema", "path"),
    [({"enum": []}, "enum"), ({"type": "string", "enum": [1]}, "enum"), ({"type": "null", "const": 0}, "const")],
)
def test_values_of_which_none_is_possible_are_refused(schema: dict[str, Any], path: str) -> None:
    assert refusal({"properties": {"a": schema}})[0] == f"properties.a.{path}"


@pytest.mark.parametrize(
    ("types", "wire"),
    [
        (["string"], {"type": "string"}),
        (["string", "null"], {"type": ["string", "null"]}),
        (["null", "object"], {"type": ["null", "object"]}),
        (["string", "number"], {"anyOf": [{"type": "string"}, {"type": "number"}]}),
        (["string", "number", "null"], {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}),
        (["integer", "number"], {"type": "number"}),
    ],
)
def test_a_list_of_types_is_one_type_and_null_or_a_union(types: list[str], wire: dict[str, Any]) -> None:
    assert derive({"type": types}) == wire


def test_a_word_that_2020_12_does_not_know_allows_no_null() -> None:
    assert derive({"type": "string", "nullable": True}) == {"type": "string"}


def test_one_of_becomes_any_of() -> None:
    schema = {"oneOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}

    assert derive(schema) == {"anyOf": [{"type": "string"}, {"type": "integer"}]}


def test_a_union_with_a_branch_that_allows_everything_says_nothing() -> None:
    assert derive({"description": "d", "anyOf": [{"minLength": 1}, {"type": "null"}]}) == {"description": "d"}
    assert derive({"anyOf": [True, {"type": "null"}]}) == {}


def test_a_union_leaves_out_what_is_impossible() -> None:
    assert derive({"anyOf": [False, {"type": "null"}]}) == {"anyOf": [{"type": "null"}]}
    assert refusal({"anyOf": [False]}) == ("anyOf", "allows no value")


def test_all_of_with_one_member_is_merged() -> None:
    schema = {"description": "d", "allOf": [{"type": "string", "description": "inner", "maxLength": 3}]}

    assert derive(schema) == {"type": "string", "description": "d"}


def test_all_of_disjoint_objects_is_one_object() -> None:
    schema = {
        "allOf": [
            {"$ref": "#/$defs/base"},
            {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b", "a"]},
            {"if": {"required": ["a"]}, "then": {"required": ["c"]}},
        ],
        "properties": {"c": {"type": "null"}},
        "$defs": {"base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    }

    assert derive(schema) == {
        "type": "object",
        "properties": {"c": {"type": "null"}, "a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "propertyOrdering": ["c", "a", "b"],
    }


def test_a_member_of_all_of_may_narrow_a_property() -> None:
    schema = {
        "properties": {"kind": {"type": "string"}},
        "allOf": [{"properties": {"kind": {"const": "invoice"}}, "required": ["kind"]}],
    }

    assert derive(schema)["properties"] == {"kind": {"type": "string", "enum": ["invoice"]}}
    assert derive(schema)["required"] == ["kind"]


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "string"}, {"type": "integer"}],
        [{"minimum": 1}, {"minimum": 2}],
        [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}],
        [{"anyOf": [{"type": "string"}]}, {"oneOf": [{"type": "integer"}]}],
        [{"additionalProperties": {"type": "string"}}, {"additionalProperties": {"type": "null"}}],
    ],
)
def test_members_of_all_of_that_disagree_are_refused(parts: list[dict[str, Any]]) -> None:
    path, message = refusal({"properties": {"x": {"allOf": parts}}})

    assert path == "properties.x"
    assert "disagree on" in message


def test_a_closed_object_beside_one_with_other_properties_is_refused() -> None:
    closed = {"properties": {"a": {}}, "additionalProperties": False}

    path, message = refusal({"allOf": [closed, {"properties": {"b": {}}}]})

    assert path == ""
    assert "'b'" in message
    assert refusal({"allOf": [{"properties": {"b": {}}}, closed]}) == (path, message)


@pytest.mark.parametrize(
    ("left", "right", "met"),
    [
        (True, False, False),
        (False, True, False),
        ({"type": "null"}, False, False),
        ({"type": "null"}, True, {"type": "null"}),
        ({}, {"type": "null"}, {"type": "null"}),
    ],
)
def test_the_stricter_word_on_other_properties_holds(left: Any, right: Any, met: Any) -> None:
    schema = {"allOf": [{"additionalProperties": left}, {"additionalProperties": right}]}

    assert derive(schema) == {"additionalProperties": met}


@pytest.mark.parametrize(
    "keyword",
    [
        {"minItems": 1, "maxItems": 9, "uniqueItems": True, "contains": {"const": 1}, "minContains": 1},
        {"minLength": 1, "maxLength": 9, "pattern": "^a"},
        {"multipleOf": 3, "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        {"minProperties": 1, "maxProperties": 2, "propertyNames": {"pattern": "a"}},
        {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {"type": "null"}}},
        {"if": {"type": "null"}, "then": {"type": "null"}, "else": {"type": "string"}, "not": {"type": "null"}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/x", "$comment": "c"},
        {"default": {"type": "null"}, "examples": [1], "deprecated": True, "readOnly": True, "discriminator": {}},
        {"unevaluatedProperties": False, "unevaluatedItems": False, "patternProperties": {"a": {"type": "null"}}},
        {"format": "email"},
        {"items": False, "required": ["undescribed"], "propertyOrdering": ["undescribed"]},
    ],
)
def test_what_gemini_does_not_know_is_left_to_the_local_check(keyword: dict[str, Any]) -> None:
    assert derive(keyword) == {}


@pytest.mark.parametrize("format_", ["date-time", "date", "time"])
def test_a_format_that_gemini_documents_is_kept(format_: str) -> None:
    assert derive({"type": "string", "format": format_}) == {"type": "string", "format": format_}


def test_names_of_properties_are_data() -> None:
    names = ["pattern", "$ref", "allOf", "$id", "const", "properties", "required", "type", "$defs", "propertyOrdering"]
    schema = {"type": "object", "properties": {name: {"type": "string", "minLength": 1} for name in names}}

    assert derive(schema) == {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "propertyOrdering": names,
    }


def test_what_matches_a_pattern_is_not_additional() -> None:
    schema = {"properties": {"a": {}}, "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False}

    assert "additionalProperties" not in derive(schema)


def test_impossible_properties_and_items_are_left_out() -> None:
    assert derive({"properties": {"a": False, "b": True}}) == {"properties": {"b": {}}, "propertyOrdering": ["b"]}
    assert derive({"prefixItems": [{"type": "null"}, False, {"type": "string"}]}) == {"prefixItems": [{"type": "null"}]}
    assert derive({"additionalProperties": False}) == {"additionalProperties": False}


def doubling(levels: int, schema_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    definitions = {f"d{level}": schema_of({"$ref": f"#/$defs/d{level + 1}"}) for level in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema_of",
    [
        lambda next_: {"properties": {"a": next_, "b": next_}},
        lambda next_: {"anyOf": [next_, next_]},
        lambda next_: {"allOf": [next_, next_]},
        lambda next_: {"prefixItems": [next_, next_], "items": next_},
    ],
)
def test_references_that_multiply_are_refused_before_they_cost_much(schema_of: Callable[[Any], dict[str, Any]]) -> None:
    assert "beyond 256 KiB" in refusal(doubling(25, schema_of))[1]


def test_long_words_that_are_repeated_by_reference_are_refused() -> None:
    schema = {
        "properties": {f"p{number}": {"$ref": "#/$defs/long"} for number in range(20)},
        "$defs": {"long": {"description": "x" * 20_000}},
    }

    assert "beyond 256 KiB" in refusal(schema)[1]


def test_a_long_chain_of_references_is_refused() -> None:
    definitions = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(2_000)}

    assert "64 levels" in refusal({"$ref": "#/$defs/d0", "$defs": definitions})[1]


def test_a_full_schema_without_references_always_fits() -> None:
    names = (f"{number:x}" for number in range(10_000))
    properties: dict[str, Any] = {}
    size = 0
    while size < 64 * 1024:
        name = next(names)
        properties[name] = {"type": "string"}
        size += len(json.dumps({name: properties[name]}, separators=(",", ":"))) - 1

    wire: dict[str, Any] = derive({"type": "object", "properties": properties})

    assert list(wire["properties"]) == list(properties)
