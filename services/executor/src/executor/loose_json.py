"""Reads what a provider says in JSON, where every field may be absent, and of any type."""

from collections.abc import Mapping

Object = Mapping[str, object]

_MOST_COUNTED = 1_000_000_000
"""Tokens of one call: beyond any, and small enough to be summed up with those of others."""

_MAX_NAME = 256


def object_of(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def first_of(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def name_of(value: object) -> str:
    """Return a name, which is kept and counted by: of bounded length."""
    return text_of(value)[:_MAX_NAME]


def count_of(value: object) -> int:
    """Return a count of tokens: 0 for what is none, and for what no call can have used."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_COUNTED else 0


def bounded_sum(*counts: int) -> int:
    """Return the sum of counts, no larger than a count may be."""
    return min(sum(counts), _MOST_COUNTED)
