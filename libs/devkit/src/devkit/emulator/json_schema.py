"""`responseJsonSchema`: which part of JSON Schema the real server knows, and what its references point at.

What it does not know is refused with the message that tells nothing, as the real one does.
"""

import itertools
import sys
from collections.abc import Mapping
from typing import Any

from devkit.emulator import errors

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_SIZES = frozenset({"minItems", "maxItems"})
_SUPPORTED = frozenset(
    {
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
        *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
        *("required", "propertyOrdering"),
    }
)
_ANNOTATIONS = frozenset(
    {"$schema", "$comment", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"}
)

# From the field: schemas whose maxItems add up to more than this are refused.
_MAX_ITEMS_BUDGET = 960


def checked(schema: object) -> dict[str, Any]:
    """Return the schema.

    Raises:
        ApiError: The real server would refuse it.
    """
    if not isinstance(schema, dict):
        raise errors.invalid_argument("response_json_schema is not an object")
    _Check(schema).run()
    return schema


class _Check:
    """One run over a JSON schema, which knows what its references can point at."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._max_items = 0
        self._checked: set[int] = set()
        self._targets: dict[int, str] = {}

    def run(self) -> None:
        self._schema(self._root, "response_json_schema")
        for target, reference in self._targets.items():
            if target not in self._checked:
                raise errors.invalid_argument(f"{reference} points at what is not a schema")

    def _schema(self, schema: object, path: str) -> None:
        if not isinstance(schema, dict):
            raise errors.invalid_argument(f"{path} is not a schema")
        for keyword in schema:
            if keyword not in _SUPPORTED and keyword not in _ANNOTATIONS:
                raise errors.invalid_argument(f"{path}: {keyword} is not supported")
        if "$ref" in schema:
            self._check_reference(schema, path)
        _check_types(schema, path)
        self._check_bounds(schema, path)
        _check_properties(schema, path)
        self._checked.add(id(schema))
        for name, part in _parts(schema):
            self._schema(part, f"{path}.{name}")

    def _check_reference(self, schema: Mapping[str, Any], path: str) -> None:
        if any(not name.startswith("$") for name in schema):
            raise errors.invalid_argument(f"{path}: beside $ref only names with a $ may stand")
        target = resolve(self._root, schema["$ref"])
        if target is None:
            raise errors.invalid_argument(f"{path}: {schema['$ref']} leads nowhere")
        self._targets[id(target)] = schema["$ref"]

    def _check_bounds(self, schema: Mapping[str, Any], path: str) -> None:
        for keyword in _SIZES & schema.keys():
            if not _is_number(schema[keyword]) or schema[keyword] < 0 or schema[keyword] % 1:
                raise errors.invalid_argument(f"{path}.{keyword} is not a size")
        for keyword in ("minimum", "maximum"):
            if not _is_number(schema.get(keyword, 0)) or abs(schema.get(keyword, 0)) > sys.float_info.max:
                raise errors.invalid_argument(f"{path}.{keyword} is not a number")
        self._max_items += schema.get("maxItems", 0)
        if self._max_items > _MAX_ITEMS_BUDGET:
            raise errors.invalid_argument(f"all maxItems together are more than {_MAX_ITEMS_BUDGET}")


def _check_types(schema: Mapping[str, Any], path: str) -> None:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
        raise errors.invalid_argument(f"{path}.type is not a type")
    choices = schema.get("enum", [""])
    if not isinstance(choices, list) or not choices:
        raise errors.invalid_argument(f"{path}.enum has no choices")
    if not all(isinstance(choice, str) or _is_number(choice) for choice in choices):
        raise errors.invalid_argument(f"{path}.enum has choices that are no strings and no numbers")
    if not isinstance(schema.get("format", ""), str):
        raise errors.invalid_argument(f"{path}.format is not a string")


def _check_properties(schema: Mapping[str, Any], path: str) -> None:
    for keyword in ("required", "propertyOrdering"):
        names = schema.get(keyword, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise errors.invalid_argument(f"{path}.{keyword} is not a list of names")
    for keyword in ("properties", "$defs"):
        if not isinstance(schema.get(keyword, {}), dict):
            raise errors.invalid_argument(f"{path}.{keyword} is not an object")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            raise errors.invalid_argument(f"{path}.required: {name} is not among the properties")
    for keyword in ("anyOf", "oneOf", "prefixItems"):
        if not isinstance(schema.get(keyword, [{}]), list) or not schema.get(keyword, [{}]):
            raise errors.invalid_argument(f"{path}.{keyword} is not a list of schemas")


def _parts(schema: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the schemas inside a schema with their names; `additionalProperties` may be a boolean instead."""
    named = [
        (f"{keyword}.{name}", part)
        for keyword in ("properties", "$defs")
        for name, part in schema.get(keyword, {}).items()
    ]
    numbered = [
        (f"{keyword}[{index}]", part)
        for keyword in ("anyOf", "oneOf", "prefixItems")
        for index, part in enumerate(schema.get(keyword, ()))
    ]
    single = [
        (keyword, schema[keyword])
        for keyword in ("items", "additionalProperties")
        if keyword in schema and not (keyword == "additionalProperties" and isinstance(schema[keyword], bool))
    ]
    return [*named, *numbered, *single]


def resolve(root: Mapping[str, Any], reference: object) -> dict[str, Any] | None:
    """Return the schema that a reference points at inside its document: a JSON pointer, or an `$anchor`."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    fragment = reference.removeprefix("#")
    if fragment and not fragment.startswith("/"):
        return _anchored(root, fragment)
    target: Any = root
    for step in itertools.islice(fragment.split("/"), 1, None):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, dict) and key in target:
            target = target[key]
        else:
            return None
    return target if isinstance(target, dict) else None


def _anchored(schema: Any, anchor: str) -> dict[str, Any] | None:
    if isinstance(schema, dict):
        if schema.get("$anchor") == anchor:
            return schema
        schema = list(schema.values())
    if isinstance(schema, list):
        return next((found for part in schema if (found := _anchored(part, anchor)) is not None), None)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
