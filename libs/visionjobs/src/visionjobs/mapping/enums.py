"""Names of enum values, of which a newer scheduler may know more."""

from collections.abc import Iterable


def word(values: Iterable[tuple[str, int]], number: int, prefix: str) -> str:
    """Return the name of an enum's value without the prefix, empty for a number that a newer scheduler made up."""
    return next((name.removeprefix(prefix) for name, value in values if value == number), "")
