import contextlib
import json
import socket
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.wire_schema import derive
from scheduler.schema_check import BadSchema, check_schema

GOOD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/invoice",
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": r"^[A-Z]{2}-\d+$", "minLength": 4},
        "total": {"type": ["number", "null"], "minimum": 0},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 100},
        "$ref": {"type": "string", "description": "a property may have any name"},
    },
    "required": ["number", "lines"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"text": {"type": "string"}}}},
}


def refusal(schema: dict[str, Any] | str) -> tuple[str, str]:
    with pytest.raises(BadSchema) as raised:
        check_schema(schema if isinstance(schema, str) else json.dumps(schema))
    return raised.value.path, raised.value.message


def verdict(text: str) -> BadSchema | None:
    try:
        check_schema(text)
    except BadSchema as bad:
        return bad
    return None


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels - 1):
        schema = an_object(a=schema)
    return schema


def test_a_good_schema_is_returned_as_it_was_written() -> None:
    checked = check_schema(json.dumps(GOOD))

    assert checked == GOOD
    assert list(checked) == list(GOOD)


def test_what_is_accepted_can_be_sent_and_checked_against() -> None:
    checked: dict[str, Any] = check_schema(json.dumps(GOOD))

    assert derive(checked)["type"] == "object"
    validator = jsonschema_rs.Draft202012Validator(checked, pattern_options=jsonschema_rs.RegexOptions(), offline=True)
    assert validator.is_valid({"number": "AB-1", "lines": [{"text": "x"}]})
    assert not validator.is_valid({"number": "AB-1"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON: Expecting value, line 1 column 1"),
        ('{"type": "object"', "is not JSON"),
        ('{"type": "object"} {}', "is not JSON"),
        ('{"type": "object", "minimum": NaN}', "NaN is no number"),
        ('{"type": "object", "minimum": -Infinity}', "-Infinity is no number"),
        ('{"type": "object", "minimum": 1e999}', "too large"),
        ('{"type": "object", "minimum": ' + "9" * 5_000 + "}", "too many digits"),
        ('{"type": "object", "title": "\\ud800"}', "surrogate"),
        ('{"type": "object", "\\ud800": 1}', "surrogate"),
        ("[]", "must be a JSON object"),
        ("true", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"type": "object", "type": "object"}', "the key 'type' twice"),
        ('{"type": "object", "properties": {"a": {}, "b": {}, "a": {}}}', "the key 'a' twice"),
    ],
)
def test_what_is_not_one_json_object_is_refused_at_the_root(text: str, reason: str) -> None:
    path, message = refusal(text)

    assert path == ""
    assert reason in message


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"a": {}}},
        {"type": "array"},
        {"type": ["object", "null"]},
        {"enum": ["a"]},
        {"anyOf": [{"type": "object"}, {"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
    ],
)
def test_a_root_that_is_not_always_an_object_is_refused(schema: dict[str, Any]) -> None:
    path, message = refusal(schema)

    assert path == ""
    assert "must describe an object" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}},
        {"anyOf": [{"type": "object"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "object"}}},
        {"allOf": [{"type": "object"}, {"properties": {"a": {}}}]},
    ],
)
def test_a_root_that_leads_to_objects_is_an_object(schema: dict[str, Any]) -> None:
    assert check_schema(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        ({"type": "objekt"}, "type", "'objekt' is not a type; known are array, boolean"),
        (an_object(a={"type": "String"}), "properties.a.type", "'String' is not a type"),
        (an_object(a={"type": ["string", "nil"]}), "properties.a.type", "is not a type"),
        (an_object(a={"items": {"anyOf": [{}, {"type": 5}]}}), "properties.a.items.anyOf[1].type", "5 is not a type"),
        (an_object(type="string"), "properties.type", "not of types"),
        (an_object(a={"minLength": -1}), "properties.a.minLength", "the value is less than the minimum"),
        (an_object(a={"required": ["x", "x"]}), "properties.a.required", "non-unique"),
        (an_object(a={"items": [{}]}), "properties.a.items", "not of types"),
        (an_object(a={"enum": []}), "properties.a.enum", "holds no value"),
        ({**an_object(), "$defs": {"unused": {"type": "text"}}}, "$defs.unused.type", "'text' is not a type"),
        ({**an_object(), "$schema": "https://example.com/mine"}, "$schema", "is unknown"),
        ({**an_object(), "$schema": 5}, "$schema", "not of type"),
        ({**an_object(), "$id": "::"}, "", "Invalid URI"),
    ],
)
def test_what_the_meta_schema_forbids_is_refused_with_its_path(schema: dict[str, Any], path: str, reason: str) -> None:
    found, message = refusal(schema)

    assert found == path
    assert reason in message


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (an_object(a={"$ref": "#/$defs/none"}), "properties.a.$ref", "leads nowhere"),
        ({**an_object(), "$defs": {"unused": {"$ref": "#/none"}}}, "$defs.unused.$ref", "leads nowhere"),
        (an_object(a={"not": {"$ref": "#/none"}}), "properties.a.not.$ref", "leads nowhere"),
        (an_object(a={"$ref": "https://example.com/x"}), "properties.a.$ref", "leads out of the schema"),
        (an_object(a={"$ref": "file:///etc/hostname"}), "properties.a.$ref", "leads out of the schema"),
        (an_object(a={"$ref": "#x", "$anchor": "x"}), "properties.a.$ref", "names an anchor"),
        (an_object(a={"$ref": "#/type"}), "properties.a.$ref", "is not a schema"),
        (an_object(a={"$ref": 5}), "properties.a.$ref", "leads out of the schema"),
        (an_object(a={"$dynamicRef": "#x"}), "properties.a.$dynamicRef", "is not supported"),
        (an_object(a={"$id": "https://example.com/x"}), "properties.a.$id", "at the root only"),
        (an_object(a={"$ref": "#"}), "properties.a.$ref", "leads back to itself"),
        (an_object(a={"not": {"$ref": "#/properties/a"}}), "properties.a.not.$ref", "leads back to itself"),
        (an_object(a={"contains": {"$ref": "#"}}), "properties.a.contains.$ref", "leads back to itself"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_refused_with_its_path(
    schema: dict[str, Any], path: str, reason: str
) -> None:
    found, message = refusal(schema)

    assert found == path
    assert reason in message


def test_a_property_called_like_a_keyword_is_no_reference() -> None:
    schema = an_object(**{"$ref": {"type": "string"}, "$id": {"type": "string"}, "$dynamicRef": {"type": "string"}})

    assert check_schema(json.dumps(schema)) == schema


def test_a_schema_inside_plain_data_is_not_looked_at() -> None:
    schema = an_object(a={"examples": [{"$ref": "#/none"}], "default": {"type": "nothing"}, "const": {"$id": 1}})

    assert check_schema(json.dumps(schema)) == schema


def test_a_schema_without_a_wire_form_is_refused_with_its_path() -> None:
    path, message = refusal(an_object(a={"allOf": [{"type": "string"}, {"type": "integer"}]}))

    assert path == "properties.a"
    assert "disagree on type" in message


def test_sixteen_levels_are_accepted_and_the_seventeenth_is_refused() -> None:
    assert check_schema(json.dumps(nested(16))) == nested(16)

    path, message = refusal(nested(17))

    assert path == ".".join(["properties.a"] * 16)
    assert message == "is more than 16 levels deep"


def test_every_keyword_that_holds_schemas_counts_as_a_level() -> None:
    deep: dict[str, Any] = {}
    for keyword in ("items", "not", "anyOf", "patternProperties", "prefixItems", "if", "contains", "$defs") * 2:
        deep = {keyword: [deep] if keyword in ("anyOf", "prefixItems") else {"a": deep}}
        if keyword in ("items", "not", "if", "contains"):
            deep = {keyword: deep[keyword]["a"]}

    assert refusal({"type": "object", **deep})[1] == "is more than 16 levels deep"


@pytest.mark.parametrize("text", ["[" * 60_000, '{"a":' * 12_000, '{"default":' + "[" * 900 + "]" * 900 + "}"])
def test_deeply_nested_json_is_refused(text: str) -> None:
    assert "nests more than 64" in refusal(text)[1]


def test_the_size_is_counted_in_bytes_of_utf_8() -> None:
    def sized(size: int) -> str:
        empty = '{"type":"object","title":""}'
        return empty.replace('""', f'"{"é" * ((size - len(empty)) // 2)}"')

    assert len(check_schema(sized(64 * 1024))) == 2
    assert refusal(sized(64 * 1024 + 2)) == ("", "has more than 64 KiB")


@pytest.mark.parametrize("keyword", ["properties", "not", "if", "anyOf", "allOf", "patternProperties", "contains"])
def test_references_that_multiply_are_refused_in_every_keyword(keyword: str) -> None:
    def twice(reference: dict[str, Any]) -> dict[str, Any]:
        if keyword in ("anyOf", "allOf"):
            return {keyword: [reference, reference]}
        if keyword in ("properties", "patternProperties"):
            return {keyword: {"a": reference, "b": reference}}
        return {keyword: reference, "else": reference}

    definitions = {f"d{level}": twice({"$ref": f"#/$defs/d{level + 1}"}) for level in range(29)}
    schema = an_object(a={"not": {"$ref": "#/$defs/d0"}})

    assert "references followed" in refusal({**schema, "$defs": {**definitions, "d29": {"type": "string"}}})[1]


@pytest.mark.parametrize("first", [0, 699])
def test_a_long_chain_of_references_is_refused_wherever_it_is_entered_first(first: int) -> None:
    definitions = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(700)}
    entries = {f"p{number}": {"$ref": f"#/$defs/d{abs(first - number)}"} for number in range(700)}

    assert "64 levels" in refusal({**an_object(**entries), "$defs": {**definitions, "d700": {}}})[1]


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "(", "[z-a]", r"(\w{1000}){1000}"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_refused(pattern: str) -> None:
    path, message = refusal(an_object(a={"pattern": pattern}))

    assert path == "properties.a.pattern"
    assert "is not a regular expression that can be matched in linear time" in message
    assert refusal({"type": "object", "patternProperties": {pattern: {}}})[0] == f"patternProperties.{pattern}"


def test_a_pattern_that_backtracks_elsewhere_is_accepted() -> None:
    schema = an_object(a={"pattern": "^(a+)+$"})

    assert check_schema(json.dumps(schema)) == schema


@pytest.mark.parametrize("home", ["properties", "x-elsewhere"])
def test_all_patterns_of_a_schema_share_their_memory(home: str) -> None:
    def with_patterns(count: int) -> dict[str, Any]:
        patterns = {f"p{number}": {"pattern": rf"^\p{{L}}{{1,9}}{number}$"} for number in range(count)}
        return {**an_object(**{name: {"$ref": f"#/{home}/{name}"} for name in patterns}), home: patterns}

    assert check_schema(json.dumps(with_patterns(3)))
    assert "too large" in refusal(with_patterns(500))[1]


@pytest.mark.parametrize("keyword", ["$ref", "$schema", "$id", "$dynamicRef"])
@pytest.mark.parametrize("at_root", [True, False])
def test_nothing_is_fetched(keyword: str, at_root: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = {keyword: f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"}
        schema = {**an_object(), **address} if at_root else an_object(a=address)

        with contextlib.suppress(BadSchema):
            check_schema(json.dumps(schema))

        with pytest.raises(BlockingIOError):
            listener.accept()


KEYWORDS = (
    "type properties items anyOf allOf enum const pattern required if not minLength patternProperties prefixItems "
    "additionalProperties propertyOrdering $ref $defs $id $schema $dynamicRef $anchor"
)
words = st.sampled_from(
    [*KEYWORDS.split(), "object", "string", "a", "(", "#", "#/$defs/a", "#/properties/a", "https://a/b"]
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


@given(st.text())
def test_any_text_is_refused_or_accepted_and_nothing_else(text: str) -> None:
    with pytest.raises(BadSchema):
        check_schema(text)


@given(st.dictionaries(words, documents, max_size=4))
def test_any_document_is_refused_or_accepted_and_nothing_else(document: dict[str, Any]) -> None:
    schema = {"type": "object", **document}

    bad = verdict(json.dumps(schema))

    assert bad is None or (bad.message and len(str(bad)) < 5_000)
