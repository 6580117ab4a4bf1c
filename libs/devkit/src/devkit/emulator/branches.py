"""The ways in which a schema can be met: references followed, alternatives chosen, so that one flat schema is left.

A flat schema has at most one type and no reference or alternative of its own; the schemas inside it still may.
`allOf` is used inwardly, for what two parts say of the same property or item.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devkit.emulator import errors, json_schema

_COMPOUND = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_LOWER_BOUNDS = frozenset({"minimum", "minItems", "minLength", "minProperties"})
_UPPER_BOUNDS = frozenset({"maximum", "maxItems", "maxLength", "maxProperties"})

# What one answer may cost before its schema counts as too much for serving.
_MAX_STEPS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A flat schema, and the references that led to it: none of them is followed again inside."""

    schema: Mapping[str, Any]
    references: tuple[str, ...]


class _Contradiction(Exception):
    """Two schemas cannot both be met."""


class Branches:
    """Finds the branches of the schemas of one document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def of(self, schema: Mapping[str, Any] | bool, references: tuple[str, ...]) -> Iterator[Branch]:  # noqa: FBT001 - true and false are schemas
        """Return the branches in the order of the document; there are none where nothing fits.

        Raises:
            ApiError: There are too many.
        """
        self.step()
        if isinstance(schema, bool):
            schema = {} if schema else {"enum": []}
        if (reference := schema.get("$ref")) is not None:
            target = json_schema.resolve(self._root, reference)
            if target is not None and reference not in references:
                yield from self.of(target, (*references, reference))
            return
        flat = {name: value for name, value in schema.items() if name not in _COMPOUND}
        groups = [[part] for part in schema.get("allOf", ())]
        groups += [schema[name] for name in ("anyOf", "oneOf") if name in schema]
        if isinstance(flat.get("type"), list):
            groups.append([{"type": kind} for kind in flat.pop("type")])
        if flat.get("enum") != []:
            yield from self._product(flat, groups, references)

    def step(self) -> None:
        """Count one step of the work.

        Raises:
            ApiError: It was one too many.
        """
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise errors.too_many_states()

    def _product(
        self, flat: Mapping[str, Any], groups: Sequence[Sequence[Any]], references: tuple[str, ...]
    ) -> Iterator[Branch]:
        if not groups:
            yield Branch(schema=flat, references=references)
            return
        for part in groups[0]:
            for branch in self.of(part, references):
                try:
                    both = _both(flat, branch.schema)
                except _Contradiction:
                    continue
                yield from self._product(both, groups[1:], branch.references)


def properties_of(schema: Mapping[str, Any], name: str) -> Any:
    """Return what a schema says of the value under a name."""
    return schema.get("properties", {}).get(name, schema.get("additionalProperties", True))


def item_of(schema: Mapping[str, Any], index: int) -> Any:
    """Return what a schema says of the item at an index."""
    prefix = schema.get("prefixItems", ())
    return prefix[index] if index < len(prefix) else schema.get("items", True)


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat schema that says what both say. Raises _Contradiction."""
    both = {**one, **other}
    for name in one.keys() & other.keys():
        both[name] = _both_values(name, one[name], other[name])
    if "properties" in both or "additionalProperties" in both:
        names = dict.fromkeys((*one.get("properties", ()), *other.get("properties", ())))
        both["properties"] = {name: _all_of(properties_of(one, name), properties_of(other, name)) for name in names}
        both["additionalProperties"] = _all_of(
            one.get("additionalProperties", True), other.get("additionalProperties", True)
        )
    if "items" in both or "prefixItems" in both:
        length = max(len(one.get("prefixItems", ())), len(other.get("prefixItems", ())))
        both["prefixItems"] = [_all_of(item_of(one, index), item_of(other, index)) for index in range(length)]
        both["items"] = _all_of(one.get("items", True), other.get("items", True))
    return both


def _both_values(name: str, one: Any, other: Any) -> Any:
    """Return what two values of one keyword say together. Raises _Contradiction."""
    if name in _LOWER_BOUNDS:
        return max(one, other)
    if name in _UPPER_BOUNDS:
        return min(one, other)
    match name:
        case "type":
            return _both_types(one, other)
        case "enum":
            return _both_choices(one, other)
        case "format" if one != other:
            raise _Contradiction
        case "required" | "propertyOrdering":
            return list(dict.fromkeys((*one, *other)))
        case _:
            return other


def _both_types(one: str, other: str) -> str:
    if one == other:
        return one
    if {one, other} == {"integer", "number"}:
        return "integer"
    raise _Contradiction


def _both_choices(one: Sequence[object], other: Sequence[object]) -> list[object]:
    choices = [choice for choice in one if choice in other]
    if not choices:
        raise _Contradiction
    return choices


def _all_of(one: Any, other: Any) -> Any:
    if one in (True, {}):
        return other
    if other in (True, {}):
        return one
    return {"allOf": [one, other]}
