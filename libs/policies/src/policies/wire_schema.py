"""The schema that Gemini is sent, derived from the caller's full JSON schema.

Gemini's `responseJsonSchema` knows a part of JSON Schema; some of the rest it ignores, some it refuses, and bounds on
lengths and items cost it so many states that it refuses the whole (too many states for serving). The derived schema
keeps what guides the model and drops what does not: it allows everything the full schema allows, and the answer is
checked against the full one afterwards.
"""

from collections.abc import Mapping, Sequence
from typing import Any

MAX_NODES = 5_000
"""How many sub-schemas the derived schema may have, references inlined: a bound against schemas that explode."""

_KEPT = ("type", "format", "title", "description", "minimum", "maximum", "required")
_NUMERIC_FORMATS = frozenset({"int32", "int64", "float", "double"})
_STRING_FORMATS = frozenset({"date", "date-time", "time", "duration", "enum"})
_ENUM_TYPES = (str, int, float)


class UnderivableSchema(Exception):
    """Gemini cannot be told this schema.

    Attributes:
        path: Where in the full schema, dotted; "" is the root.
        message: Why.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'the schema'}: {message}")
        self.path = path
        self.message = message


def derive(schema: Mapping[str, object]) -> dict[str, object]:
    """Return the schema to send. The argument is not changed.

    References are inlined; `const` becomes a single `enum`, `oneOf` becomes `anyOf`, a list of types becomes `anyOf`;
    the order of properties is told by `propertyOrdering`.

    Raises:
        UnderivableSchema: A reference leads nowhere, out of the document or back to itself; an `allOf` cannot be merged;
            the inlined schema has more than MAX_NODES sub-schemas.
    """
    return _Derivation(schema).of(schema, "", ())


class _Derivation:
    """One run: the root that references point into, and the count of sub-schemas."""

    def __init__(self, root: Mapping[str, object]) -> None:
        self._root = root
        self._nodes = 0

    def of(self, schema: object, path: str, references: tuple[str, ...]) -> dict[str, object]:
        """Return the derived sub-schema; `references` are those being inlined around it."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UnderivableSchema(path, f"with its references inlined the schema has more than {MAX_NODES} parts")
        if isinstance(schema, bool):
            if not schema:
                raise UnderivableSchema(path, "the schema false allows nothing")
            return {}
        if not isinstance(schema, Mapping):
            raise UnderivableSchema(path, "is not a schema")
        if "$ref" in schema:
            return self._inlined(schema, path, references)
        if "allOf" in schema:
            return self._merged(schema, path, references)
        types = schema.get("type")
        if isinstance(types, list):
            return self._any_type(schema, types, path, references)
        return self._derived(schema, path, references)

    def _derived(self, schema: Mapping[str, object], path: str, references: tuple[str, ...]) -> dict[str, object]:
        derived: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
        if not _is_known_format(derived.get("format"), derived.get("type")):
            derived.pop("format", None)
        self._add_choices(derived, schema)
        if isinstance(properties := schema.get("properties"), Mapping):
            derived["properties"] = {
                name: self.of(part, _join(path, f"properties.{name}"), references) for name, part in properties.items()
            }
            wanted = [name for name in _sequence(schema.get("propertyOrdering")) if name in properties]
            derived["propertyOrdering"] = list(dict.fromkeys([*wanted, *properties]))
        # Gemini refuses to require what is not among the properties.
        required = [name for name in _sequence(derived.pop("required", None)) if name in derived.get("properties", {})]
        if required:
            derived["required"] = required
        if "items" in schema:
            derived["items"] = self.of(schema["items"], _join(path, "items"), references)
        if isinstance(prefix := schema.get("prefixItems"), list):
            derived["prefixItems"] = [
                self.of(part, _join(path, f"prefixItems[{index}]"), references) for index, part in enumerate(prefix)
            ]
        if (additional := schema.get("additionalProperties")) is not None:
            derived["additionalProperties"] = (
                additional
                if isinstance(additional, bool)
                else self.of(additional, _join(path, "additionalProperties"), references)
            )
        alternatives = [
            (keyword, index, part)
            for keyword in ("anyOf", "oneOf")
            if isinstance(parts := schema.get(keyword), list)
            for index, part in enumerate(parts)
        ]
        if alternatives and not ("anyOf" in schema and "oneOf" in schema):
            derived["anyOf"] = [
                self.of(part, _join(path, f"{keyword}[{index}]"), references) for keyword, index, part in alternatives
            ]
        return derived

    def _add_choices(self, derived: dict[str, object], schema: Mapping[str, object]) -> None:
        """Add `enum`, also for `const`. Gemini knows strings and numbers in it; other choices are left open."""
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(choices, list) or not choices:
            return
        if all(isinstance(choice, _ENUM_TYPES) and not isinstance(choice, bool) for choice in choices):
            derived["enum"] = list(choices)
            if "type" not in derived and (inferred := _type_of_all(choices)):
                derived["type"] = inferred

    def _any_type(
        self, schema: Mapping[str, object], types: Sequence[object], path: str, references: tuple[str, ...]
    ) -> dict[str, object]:
        rest = {name: value for name, value in schema.items() if name not in ("type", "title", "description")}
        branches = [self.of(_for_type(rest, kind), path, references) for kind in types]
        outer: dict[str, object] = {name: schema[name] for name in ("title", "description") if name in schema}
        return {**outer, **branches[0]} if len(branches) == 1 else {**outer, "anyOf": branches}

    def _inlined(self, schema: Mapping[str, object], path: str, references: tuple[str, ...]) -> dict[str, object]:
        reference = schema["$ref"]
        here = _join(path, "$ref")
        if not isinstance(reference, str):
            raise UnderivableSchema(here, "is not a string")
        if reference in references:
            raise UnderivableSchema(here, f"{reference} leads back to itself; Gemini needs a schema without recursion")
        target = self._resolved(reference, here)
        beside = {name: value for name, value in schema.items() if name not in ("$ref", "$defs", "definitions")}
        inlined = self.of(target, path, (*references, reference))
        if not beside:
            return inlined
        return self._combined([inlined, self.of(beside, path, references)], path)

    def _resolved(self, reference: str, path: str) -> object:
        if not reference.startswith("#"):
            raise UnderivableSchema(path, f"{reference} leads out of the schema")
        target: object = self._root
        for part in reference[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                raise UnderivableSchema(path, f"{reference} leads nowhere")
        if reference != "#" and not reference.startswith("#/"):
            raise UnderivableSchema(path, f"{reference} leads nowhere; only JSON pointers are followed")
        return target

    def _merged(self, schema: Mapping[str, object], path: str, references: tuple[str, ...]) -> dict[str, object]:
        parts = schema["allOf"]
        if not isinstance(parts, list) or not parts:
            raise UnderivableSchema(_join(path, "allOf"), "is not a list of schemas")
        derived = [self.of(part, _join(path, f"allOf[{index}]"), references) for index, part in enumerate(parts)]
        beside = {name: value for name, value in schema.items() if name != "allOf"}
        if beside:
            derived.append(self.of(beside, path, references))
        return self._combined(derived, _join(path, "allOf"))

    def _combined(self, parts: Sequence[dict[str, object]], path: str) -> dict[str, object]:
        """Return one schema that says what all parts say; parts may not contradict each other."""
        combined: dict[str, object] = {}
        for part in parts:
            for name, value in part.items():
                if name not in combined or combined[name] == value:
                    combined[name] = value
                else:
                    combined[name] = self._both(name, combined[name], value, path)
        return combined

    def _both(self, name: str, one: object, other: object, path: str) -> object:  # noqa: PLR0911 - a table, one row a keyword
        """Return what a keyword says where two parts say different things of it."""
        match name:
            case "title" | "description" | "format":
                # The one beside a reference comes last, and speaks of this place.
                return other
            case "required" | "propertyOrdering":
                return list(dict.fromkeys([*_sequence(one), *_sequence(other)]))
            case "enum":
                return [choice for choice in _sequence(one) if choice in _sequence(other)]
            case "minimum":
                return max(_number(one), _number(other))
            case "maximum":
                return min(_number(one), _number(other))
            case "additionalProperties":
                # What either allows may be allowed: the answer is checked against the full schema.
                return True
            case "properties" if isinstance(one, dict) and isinstance(other, dict):
                return self._combined_properties(one, other, path)
            case _:
                raise UnderivableSchema(path, f"its parts disagree about {name}")

    def _combined_properties(self, one: dict[str, object], other: dict[str, object], path: str) -> dict[str, object]:
        combined = dict(one)
        for name, part in other.items():
            present = combined.get(name)
            if isinstance(present, dict) and isinstance(part, dict):
                combined[name] = self._combined([present, part], _join(path, f"properties.{name}"))
            else:
                combined[name] = part
        return combined


def _for_type(schema: Mapping[str, object], kind: object) -> dict[str, object]:
    """Return what a schema with several types says of one of them."""
    choices = schema.get("enum")
    branch = dict(schema) if kind != "null" else {}
    branch["type"] = kind
    if isinstance(choices, list) and kind != "null":
        branch["enum"] = [choice for choice in choices if choice is not None]
    return branch


def _is_known_format(name: object, kind: object) -> bool:
    if kind in ("integer", "number"):
        return name in _NUMERIC_FORMATS
    return name in _STRING_FORMATS


def _type_of_all(choices: Sequence[object]) -> str | None:
    if all(isinstance(choice, str) for choice in choices):
        return "string"
    if all(isinstance(choice, int) for choice in choices):
        return "integer"
    if all(isinstance(choice, int | float) for choice in choices):
        return "number"
    return None


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return value
    raise UnderivableSchema("", "minimum and maximum must be numbers")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
