"""Refuses schemas that no answer could be checked against, or that Gemini cannot be told."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

import jsonschema_rs

from policies.wire_schema import UnderivableSchema, derive

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16

_SCHEMA_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = (
    "items",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)


class BadSchema(Exception):
    """A schema is refused.

    Attributes:
        path: Where in the schema, dotted; "" is the whole.
        message: Why, for people.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'the schema'}: {message}")
        self.path = path
        self.message = message


def check_schema(text: str) -> None:
    """Check the text of a JSON schema (draft 2020-12).

    Backends send the same few schemas again and again, so the latest verdicts are remembered.

    Raises:
        BadSchema: It is not JSON, no object schema, invalid, too large or too deep, refers to nowhere or elsewhere, or
            Gemini cannot be told it.
    """
    refusal = _refusal(text)
    if refusal is not None:
        raise BadSchema(*refusal)


@lru_cache(maxsize=256)
def _refusal(text: str) -> tuple[str, str] | None:
    try:
        _check(text)
    except BadSchema as bad:
        return bad.path, bad.message
    except UnderivableSchema as underivable:
        return underivable.path, underivable.message
    return None


def _check(text: str) -> None:
    if len(text.encode()) > MAX_BYTES:
        raise BadSchema("", f"has more than {MAX_BYTES // 1024} KiB")
    schema = _parsed(text)
    if not isinstance(schema, dict):
        raise BadSchema("", "is not a JSON object")
    _check_depth(schema)
    _check_meta_schema(schema)
    derived = derive(schema)
    if derived.get("type") != "object":
        raise BadSchema("type", 'must be "object": an answer is always a JSON object')


def _parsed(text: str) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise BadSchema("", f"names {next(name for name in names if names.count(name) > 1)!r} twice")
        return found

    def no_constant(name: str) -> object:
        raise BadSchema("", f"is not JSON: {name} is no JSON number")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except ValueError as error:
        raise BadSchema("", f"is not JSON: {error}") from None
    except RecursionError:
        raise BadSchema("", f"is more than {MAX_DEPTH} deep") from None


def _check_depth(schema: dict[str, object]) -> None:
    pending: list[tuple[object, int, str]] = [(schema, 1, "")]
    while pending:
        part, depth, path = pending.pop()
        if depth > MAX_DEPTH:
            raise BadSchema(path, f"is more than {MAX_DEPTH} deep")
        if isinstance(part, Mapping):
            pending += [(inner, depth + 1, f"{path}.{name}" if path else name) for name, inner in _inner(part)]


def _inner(schema: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for keyword in _SCHEMAS:
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in _SCHEMA_MAPS:
        if isinstance(named := schema.get(keyword), Mapping):
            yield from ((f"{keyword}.{name}", part) for name, part in named.items())
    for keyword in _SCHEMA_LISTS:
        if isinstance(listed := schema.get(keyword), list):
            yield from ((f"{keyword}[{index}]", part) for index, part in enumerate(listed))


def _check_meta_schema(schema: dict[str, object]) -> None:
    try:
        # The schema is bound to this draft, and a pattern to the engine whose time is linear in the text.
        jsonschema_rs.Draft202012Validator(
            {name: value for name, value in schema.items() if name != "$schema"},
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
        )
    except jsonschema_rs.ValidationError as error:
        if _is_reference(error):
            # derive() follows references itself, and says where one leads nowhere.
            return
        path = _dotted(error.instance_path)
        message = "is not a JSON type" if error.instance_path[-1:] == ["type"] else error.message
        raise BadSchema(path, message) from None
    except ValueError as error:
        raise BadSchema("", str(error)) from None


def _is_reference(error: jsonschema_rs.ValidationError) -> bool:
    return not error.instance_path and not error.schema_path


def _dotted(path: list[str | int]) -> str:
    dotted = ""
    for part in path:
        if isinstance(part, int):
            dotted += f"[{part}]"
        else:
            dotted += f".{part}" if dotted else part
    return dotted
