"""Says in Gemini's words which values a schema allows by `type`, `enum` and `const`.

Gemini has enums of strings and numbers only, no const, and no list of types but one type and null.
"""

from types import NoneType
from typing import Any

from policies.wire_conjunction import Wire

_ENUMERABLE = ("string", "integer", "number")
_TYPES = {NoneType: "null", bool: "boolean", str: "string", int: "integer", list: "array"}


def typed(types: list[Any]) -> Wire:
    if not types:
        return {}
    if len(types) == 1:
        return {"type": types[0]}
    if len(types) == 2 and "null" in types:
        return {"type": types}  # the one list that Gemini documents
    return {"anyOf": [{"type": type_} for type_ in types]}


def limited(types: list[Any], values: list[Any]) -> Wire | None:
    """Return a schema of these values as far as they are of these types (none means any); None if there are none."""
    if types:
        branches = [
            {"type": type_, "enum": fitting} if type_ in _ENUMERABLE else {"type": type_}
            for type_ in types
            if (fitting := [value for value in values if _fits(value, type_)])
        ]
    else:
        enumerable = [value for value in values if _type_of(value) in _ENUMERABLE]
        others = dict.fromkeys(type_ for value in values if (type_ := _type_of(value)) not in _ENUMERABLE)
        branches = [*([{"enum": enumerable}] if enumerable else []), *({"type": type_} for type_ in others)]
    if len(branches) > 1:
        return {"anyOf": branches}
    return branches[0] if branches else None


def _fits(value: object, type_: object) -> bool:
    actual = _type_of(value)
    return type_ == actual or (type_ == "number" and actual == "integer")


def _type_of(value: object) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _TYPES.get(type(value), "object")
