"""The schema that Gemini gets, derived from the caller's full JSON schema (2020-12).

Gemini knows few keywords, ignores some others and answers 400 to the rest. The wire schema has only those it
documents, with references inlined and the order of properties made explicit. It is never stricter than the full
schema: whatever the full schema allows, the wire schema allows too. What was left out is checked on the answer.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policies.json_pointer import BadReference, Path, dotted, follow, shown
from policies.wire_conjunction import ANNOTATIONS, Contradiction, Wire, meet
from policies.wire_values import limited, typed

MAX_DEPTH = 64
"""Levels of schemas, references followed."""
MAX_CHARACTERS = 256 * 1024
"""Size of the wire schema, about: a small text of nested references can stand for gigabytes."""

_CHARACTERS_PER_SCHEMA = 24  # its braces, quotes and commas; so this bounds how many schemas are visited, too
_COPIED = (*ANNOTATIONS, "minimum", "maximum", "required", "propertyOrdering")
# Gemini documents these; of others it has refused some and ignored some.
_FORMATS = ("date-time", "date", "time")
# They give a reference another meaning than its text has.
_RELOCATING = ("$dynamicRef", "$recursiveRef")


class UnderivableSchema(Exception):
    """The full schema has no wire form.

    Attributes:
        path: Where in the full schema, dotted; "" is its root.
        message: Why.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def derive(schema: Mapping[str, object]) -> dict[str, object]:
    """Return the wire schema of a full schema that is valid by the meta-schema of 2020-12.

    `nullable` is dropped like any keyword that 2020-12 does not know: the full schema forbids the null all the same.

    Raises:
        UnderivableSchema: A reference leads nowhere, out of the schema or back to itself, parts that hold together
            (allOf, `$ref` beside other keywords) disagree, nothing is allowed, or it grows beyond MAX_DEPTH or
            MAX_CHARACTERS.
    """
    return _Derivation(schema).schema(schema, _Place())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the derivation stands.

    Attributes:
        path: In the text of the full schema.
        depth: Levels from the root, references followed.
        open: The targets of the references that are being followed.
    """

    path: Path = ()
    depth: int = 1
    open: frozenset[Path] = frozenset({()})

    def at(self, *steps: str | int) -> "_Place":
        return replace(self, path=(*self.path, *steps), depth=self.depth + 1)

    def inside(self, target: Path) -> "_Place":
        return _Place(path=target, depth=self.depth + 1, open=self.open | {target})

    def refusal(self, message: str, *steps: str | int) -> UnderivableSchema:
        return UnderivableSchema(dotted((*self.path, *steps)), message)


class _Derivation:
    """One run of derive."""

    def __init__(self, root: Mapping[str, object]) -> None:
        self._root = root
        self._characters = 0

    def schema(self, schema: object, place: _Place) -> Wire:
        return _finished(self._merged(schema, place))

    def _merged(self, schema: object, place: _Place) -> Wire:
        """Return one wire schema for all that holds together here; `required` is not yet filtered."""
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise place.refusal("allows no value" if schema is False else "is not a schema")
        if place.depth > MAX_DEPTH:
            raise place.refusal(f"is more than {MAX_DEPTH} levels deep, references followed")
        _refuse_relocation(schema, place)
        merged: Wire = {}
        for part in self._parts(schema, place):
            try:
                merged = meet(merged, part)
            except Contradiction as contradiction:
                raise place.refusal(str(contradiction)) from None
        return merged

    def _parts(self, schema: Mapping[str, object], place: _Place) -> Iterable[Wire]:
        yield self._values(schema, place)
        yield self._own(schema, place)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                yield self._union(union, schema, place)
        if "$ref" in schema:
            yield self._referenced(schema["$ref"], place)
        for index, member in enumerate(_list(schema, "allOf", place)):
            yield self._merged(member, place.at("allOf", index))

    def _values(self, schema: Mapping[str, object], place: _Place) -> Wire:
        declared = schema.get("type", [])
        types = list(declared) if isinstance(declared, list) else [declared]
        if "number" in types and "integer" in types:
            types.remove("integer")
        if "const" in schema:
            values = limited(types, [schema["const"]])
        elif "enum" in schema:
            values = limited(types, _list(schema, "enum", place))
        else:
            values = typed(types)
        if values is None:
            raise place.refusal("holds no value of its type", "const" if "const" in schema else "enum")
        self._spend(len(json.dumps(values)), place)
        return values

    def _own(self, schema: Mapping[str, object], place: _Place) -> Wire:
        own: Wire = {keyword: schema[keyword] for keyword in _COPIED if keyword in schema}
        if not all(isinstance(name, str) for name in _list(own, "propertyOrdering", place)):
            raise place.refusal("must be a list of property names", "propertyOrdering")
        if schema.get("format") in _FORMATS:
            own["format"] = schema["format"]
        self._spend(_CHARACTERS_PER_SCHEMA + len(json.dumps(own)), place)
        own |= self._members(schema, place)
        own |= self._elements(schema, place)
        return own

    def _members(self, schema: Mapping[str, object], place: _Place) -> Wire:
        """Return the keywords of objects that hold schemas. Property names are data, whatever they say."""
        members: Wire = {}
        if "properties" in schema:
            properties = schema["properties"]
            if not isinstance(properties, Mapping):
                raise place.refusal("must be an object", "properties")
            self._spend(sum(map(len, properties)), place)
            members["properties"] = {
                name: self.schema(property_schema, place.at("properties", name))
                for name, property_schema in properties.items()
                if property_schema is not False
            }
        # What matches a pattern is not additional, and the wire schema has no patterns to say so.
        if "additionalProperties" in schema and "patternProperties" not in schema:
            additional = schema["additionalProperties"]
            members["additionalProperties"] = (
                additional
                if isinstance(additional, bool)
                else self.schema(additional, place.at("additionalProperties"))
            )
        return members

    def _elements(self, schema: Mapping[str, object], place: _Place) -> Wire:
        """Return the keywords of arrays that hold schemas."""
        elements: Wire = {}
        prefix = _list(schema, "prefixItems", place)
        if False in prefix:
            prefix = prefix[: prefix.index(False)]  # no array is so long that the later ones matter
        if prefix:
            elements["prefixItems"] = [
                self.schema(item, place.at("prefixItems", index)) for index, item in enumerate(prefix)
            ]
        if not isinstance(schema.get("items", True), bool):
            elements["items"] = self.schema(schema["items"], place.at("items"))
        return elements

    def _union(self, keyword: str, schema: Mapping[str, object], place: _Place) -> Wire:
        branches = [
            self.schema(branch, place.at(keyword, index))
            for index, branch in enumerate(_list(schema, keyword, place))
            if branch is not False
        ]
        if not branches:
            raise place.refusal("allows no value", keyword)
        return {} if {} in branches else {"anyOf": branches}

    def _referenced(self, reference: object, place: _Place) -> Wire:
        try:
            target = follow(self._root, reference)
        except BadReference as bad:
            raise place.refusal(str(bad), "$ref") from None
        if target.path in place.open:
            raise place.refusal(f"{shown(reference)} leads back to itself; Gemini gets no recursive schema", "$ref")
        return self._merged(target.value, place.inside(target.path))

    def _spend(self, characters: int, place: _Place) -> None:
        self._characters += characters
        if self._characters > MAX_CHARACTERS:
            raise place.refusal(f"takes the schema beyond {MAX_CHARACTERS // 1024} KiB, references followed")


def _refuse_relocation(schema: Mapping[str, object], place: _Place) -> None:
    for keyword in _RELOCATING:
        if keyword in schema:
            raise place.refusal("is not supported", keyword)
    if place.path and "$id" in schema:
        raise place.refusal("is supported at the root only", "$id")


def _list(schema: Mapping[str, object], keyword: str, place: _Place) -> list[Any]:
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise place.refusal("must be a list", keyword)
    return value


def _finished(merged: Wire) -> Wire:
    """Name the order of the properties, and require none that is not described: Gemini refuses that."""
    properties = merged.get("properties", {})
    required = [name for name in merged.get("required", ()) if name in properties]
    ordering = [name for name in merged.get("propertyOrdering", ()) if name in properties]
    finished = {keyword: value for keyword, value in merged.items() if keyword not in ("required", "propertyOrdering")}
    if required:
        finished["required"] = required
    if properties:
        finished["propertyOrdering"] = list(dict.fromkeys([*ordering, *properties]))
    return finished
