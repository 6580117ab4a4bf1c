"""Finds the schemas inside a JSON schema (2020-12), and only those: names of properties and plain values are data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from policies.json_pointer import Path

Schema: TypeAlias = dict[str, Any]

_ONE = (
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A schema in the text of another one, which is on level 1."""

    path: Path
    level: int
    schema: Schema


def all_schemas(root: Schema) -> Iterator[Found]:
    """Yield every schema in the text, the root first. What is no schema where one should stand is passed over."""
    waiting = [Found(path=(), level=1, schema=root)]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += [
            Found(path=(*found.path, *steps), level=found.level + 1, schema=child)
            for steps, child in reversed(list(children(found.schema)))
        ]


def children(schema: Schema) -> Iterator[tuple[Path, Schema]]:
    """Yield the schemas one level down, each with its path from here."""
    for keyword, value in schema.items():
        candidates: list[tuple[Path, Any]]
        if keyword in _ONE:
            candidates = [((keyword,), value)]
        elif keyword in _SEVERAL and isinstance(value, list):
            candidates = [((keyword, index), child) for index, child in enumerate(value)]
        elif keyword in _NAMED and isinstance(value, dict):
            candidates = [((keyword, name), child) for name, child in value.items()]
        else:
            continue
        yield from ((steps, child) for steps, child in candidates if isinstance(child, dict))
