"""What holds for every derivation: a value is drawn first, then a schema that describes it."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from policies.wire_schema import derive

SUPPORTED = {
    "type",
    "format",
    "title",
    "description",
    "enum",
    "items",
    "prefixItems",
    "properties",
    "required",
    "additionalProperties",
    "anyOf",
    "minimum",
    "maximum",
    "propertyOrdering",
}


def schemas_in(wire: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every schema of a wire schema, by position."""
    yield wire
    children = [*wire.get("properties", {}).values(), *wire.get("anyOf", []), *wire.get("prefixItems", [])]
    children += [wire[keyword] for keyword in ("items", "additionalProperties") if keyword in wire]
    for child in children:
        if not isinstance(child, bool):
            yield from schemas_in(child)


names = st.sampled_from(["a", "b", "pattern", "$ref", "type", "properties", "$defs", "required", "items", "const", "é"])
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from(["", "a", "b~/"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=8
)


class Describing:
    """Draws schemas that allow a value; definitions are collected aside."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.definitions: dict[str, Any] = {}

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def schema(self, value: Any, depth: int = 0) -> Any:
        forms = [self.typed, self.typed, self.listed, self.constant, self.anything]
        if depth < 4:
            forms += [self.union, self.conjunction, self.reference]
        return self.draw(st.sampled_from(forms))(value, depth)

    def anything(self, _value: Any, _depth: int) -> Any:
        return self.draw(st.sampled_from([True, {}, {"title": "any"}, {"not": False}, {"examples": [{"type": 1}]}]))

    def constant(self, value: Any, _depth: int) -> dict[str, Any]:
        return {"const": value}

    def listed(self, value: Any, _depth: int) -> dict[str, Any]:
        return {"enum": [value, *self.draw(st.lists(scalars, max_size=2))]}

    def union(self, value: Any, depth: int) -> dict[str, Any]:
        other = self.draw(st.sampled_from([False, {"const": "no such value"}, {"const": 1e9}]))
        branches = [self.schema(value, depth + 1), other]
        return {self.draw(st.sampled_from(["anyOf", "oneOf"])): self.draw(st.permutations(branches))}

    def conjunction(self, value: Any, depth: int) -> dict[str, Any]:
        members = [self.schema(value, depth + 1), {"if": {"const": "no such value"}, "then": False}]
        if isinstance(value, dict):
            members = [self.object({name: child}, depth, open_=True) for name, child in value.items()]
        return {"allOf": members or [True], "description": "all"}

    def reference(self, value: Any, depth: int) -> dict[str, Any]:
        name = f"{self.draw(names)}{len(self.definitions)}"
        self.definitions[name] = None  # takes the number
        self.definitions[name] = self.schema(value, depth + 1)
        pointer = name.replace("~", "~0").replace("/", "~1").replace("é", "%C3%A9")
        return {"$ref": f"#/$defs/{pointer}", "title": "referred"}

    def typed(self, value: Any, depth: int) -> dict[str, Any]:
        match value:
            case None:
                return self.of_type("null")
            case bool():
                return self.of_type("boolean")
            case str():
                return {**self.of_type("string"), "maxLength": 9, "pattern": "", "format": "date"}
            case int() | float():
                name = "integer" if float(value).is_integer() and self.chance() else "number"
                return {
                    **self.of_type(name),
                    "minimum": value - self.draw(st.integers(0, 1)),
                    "maximum": value,
                    "exclusiveMaximum": value + 1,
                }
            case list():
                return self.array(value, depth)
            case _:
                return self.object(value, depth)

    def of_type(self, name: str) -> dict[str, Any]:
        others = self.draw(st.lists(st.sampled_from(["null", "string", "object"]), max_size=2, unique=True))
        types = list(dict.fromkeys([name, *others]))
        return {"type": types if len(types) > 1 or self.chance() else name}

    def array(self, value: list[Any], depth: int) -> dict[str, Any]:
        head = self.draw(st.integers(0, len(value)))
        schema = {**self.of_type("array"), "minItems": 0, "maxItems": 9}
        if head:
            schema["prefixItems"] = [self.schema(item, depth + 1) for item in value[:head]]
        rest = [self.schema(item, depth + 1) for item in value[head:]]
        schema["items"] = {"anyOf": rest} if rest else self.draw(st.booleans())
        return schema

    def object(self, value: dict[str, Any], depth: int, *, open_: bool = False) -> dict[str, Any]:
        described = {name: self.schema(child, depth + 1) for name, child in value.items() if self.chance()}
        schema = {
            **({"type": "object"} if open_ else self.of_type("object")),
            "properties": described | ({} if open_ else {"absent": self.draw(st.sampled_from([False, {"const": 1}]))}),
            "required": list(value)[: self.draw(st.integers(0, len(value)))],
        }
        rest = [child for name, child in value.items() if name not in described]
        if open_:
            return schema
        if not rest:
            schema["additionalProperties"] = self.draw(st.sampled_from([True, False, {"const": "no such value"}]))
        elif self.chance():
            schema["additionalProperties"] = {"anyOf": [self.schema(child, depth + 1) for child in rest]}
        else:
            schema |= {"patternProperties": {"": True}, "additionalProperties": False}
        return schema


@st.composite
def described_values(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    value = draw(values)
    describing = Describing(draw)
    schema = describing.schema(value)
    if isinstance(schema, bool):
        schema = {}
    return value, {**schema, "$defs": describing.definitions}


@given(described_values())
def test_whatever_the_full_schema_allows_the_wire_schema_allows(drawn: tuple[Any, dict[str, Any]]) -> None:
    value, schema = drawn
    assert jsonschema_rs.is_valid(schema, value), "the draw is wrong, not the derivation"

    assert jsonschema_rs.is_valid(derive(schema), value)


@given(described_values())
def test_only_supported_keywords_remain(drawn: tuple[Any, dict[str, Any]]) -> None:
    for schema in schemas_in(derive(drawn[1])):
        assert set(schema) <= SUPPORTED
        for value in schema.get("enum", []):
            assert isinstance(value, str | int | float)
            assert not isinstance(value, bool)
        assert set(schema.get("propertyOrdering", ())) == set(schema.get("properties", ()))


@given(described_values())
def test_deriving_again_changes_nothing(drawn: tuple[Any, dict[str, Any]]) -> None:
    wire = derive(drawn[1])

    assert derive(wire) == wire


@given(described_values())
def test_the_full_schema_is_left_alone_and_shares_nothing(drawn: tuple[Any, dict[str, Any]]) -> None:
    schema = drawn[1]
    before = copy.deepcopy(schema)

    wire = derive(schema)
    for found in list(schemas_in(wire)):
        for inside in found.values():
            if isinstance(inside, list):
                inside.append("spoiled")

    assert schema == before
