"""Merges wire schemas that hold together: a schema's own keywords, its allOf and what its `$ref` leads to.

Gemini has no allOf, so the parts become one schema. Where that cannot be said in one schema, it is a contradiction.
"""

from typing import Any, TypeAlias

from policies.json_pointer import shown

Wire: TypeAlias = dict[str, Any]

ANNOTATIONS = ("title", "description")


class Contradiction(Exception):
    """Two parts disagree, or cannot be said in one schema; the text says on what."""


def meet(left: Wire, right: Wire) -> Wire:
    """Return one schema for two that hold together; of two titles or descriptions the left one stays."""
    _refuse_closed(left, right)
    _refuse_closed(right, left)
    met = dict(left)
    for keyword, value in right.items():
        met[keyword] = _agreed(keyword, left[keyword], value) if keyword in left else value
    return met


def _refuse_closed(closed: Wire, other: Wire) -> None:
    if closed.get("additionalProperties") is not False:
        return
    forbidden = next((name for name in other.get("properties", ()) if name not in closed.get("properties", ())), None)
    if forbidden is not None:
        raise Contradiction(f"one part has the property {shown(forbidden)}, another forbids it (additionalProperties)")


def _agreed(keyword: str, left: Any, right: Any) -> Any:
    if left == right or keyword in ANNOTATIONS:
        return left
    match keyword:
        case "required" | "propertyOrdering":
            return list(dict.fromkeys([*left, *right]))
        case "properties":
            return left | {name: meet(left[name], schema) if name in left else schema for name, schema in right.items()}
        case "additionalProperties" if left is False or right in (True, {}):
            return left
        case "additionalProperties" if right is False or left in (True, {}):
            return right
    raise Contradiction(f"its parts (allOf, $ref, unions) disagree on {keyword}; write them as one schema")
