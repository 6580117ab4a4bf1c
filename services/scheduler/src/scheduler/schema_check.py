"""Checks the JSON schema of a job before it is accepted: one that passes can be sent and checked against.

It touches no network and costs bounded time and memory, whatever it is given.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema_rs

from policies.json_pointer import dotted, shown
from policies.wire_schema import UnderivableSchema, derive
from scheduler.schema_references import BadReferences, check_references
from scheduler.schema_walk import Found, Schema, all_schemas

MAX_BYTES = 64 * 1024
MAX_LEVELS = 16
"""Schemas in schemas; the root is the first."""

_MAX_NESTING = 64  # of JSON, beyond what MAX_LEVELS of schemas take: bounds default, examples, const and the like
# Compiled patterns can be thousands of times as large as their text; those of one schema share this.
_MAX_PATTERN_BYTES = 16 * 1024 * 1024
_MAX_BYTES_OF_ONE_PATTERN = 10 * 1024 * 1024  # the engine's own default: who compiles the schema later needs no limit
_LONGEST_MESSAGE = 300  # characters of a message that is not ours: it may quote the schema
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)


class BadSchema(Exception):
    """The schema cannot be accepted.

    Attributes:
        path: Where, dotted, from the schema's root; "" is the root.
        message: Why, in a sentence's second half.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


def check_schema(text: str) -> dict[str, object]:
    """Return the parsed schema. It is read as 2020-12, whatever its `$schema` says.

    Raises:
        BadSchema: With the first thing that is wrong with it.
    """
    schema = _parsed(text)
    schemas = list(all_schemas(schema))
    _check_levels(schemas)
    _check_dialect(schema)
    try:
        check_references(schema)
    except BadReferences as bad:
        raise BadSchema(dotted(bad.path), bad.message) from None
    _compile(schema)
    _check_wire(schema)
    return schema


def _parsed(text: str) -> Schema:
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise BadSchema("", f"has more than {MAX_BYTES // 1024} KiB")
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        raise BadSchema("", f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    except ValueError:
        raise BadSchema("", "has a number with too many digits") from None
    except RecursionError:
        raise _too_nested() from None
    if not isinstance(document, dict):
        raise BadSchema("", "must be a JSON object")
    _check_nesting(document)
    _check_text(document)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for name, value in pairs:
        if name in unique:
            raise BadSchema("", f"has the key {shown(name)} twice in one object")
        unique[name] = value
    return unique


def _refuse_constant(name: str) -> float:
    raise BadSchema("", f"is not JSON: {name} is no number")


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadSchema("", f"has the number {shown(digits)}, which is too large")
    return number


def _check_nesting(document: Schema) -> None:
    layer: list[Any] = [document]
    for _ in range(_MAX_NESTING):
        layer = [child for value in layer for child in _containers_in(value)]
        if not layer:
            return
    raise _too_nested()


def _containers_in(value: Any) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value
    return (child for child in children if isinstance(child, dict | list))


def _too_nested() -> BadSchema:
    return BadSchema("", f"nests more than {_MAX_NESTING} objects and lists in each other")


def _check_text(document: Schema) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadSchema("", "has half a character: a surrogate (\\ud800 to \\udfff) without its other half") from None


def _check_levels(schemas: Sequence[Found]) -> None:
    deepest = max(schemas, key=lambda found: found.level)
    if deepest.level > MAX_LEVELS:
        raise BadSchema(dotted(deepest.path), f"is more than {MAX_LEVELS} levels deep")


def _check_dialect(schema: Schema) -> None:
    dialect = schema.get("$schema")
    if isinstance(dialect, str) and dialect.removesuffix("#") not in _DIALECTS:
        raise BadSchema("$schema", f"{shown(dialect)} is unknown; schemas are read as {_DIALECTS[0]}")


def _compile(schema: Schema) -> None:
    """Check by the meta-schema, and that every pattern can be matched in time linear in the text."""
    share = _MAX_PATTERN_BYTES // max(_patterns(schema), 1)
    options = jsonschema_rs.RegexOptions(size_limit=min(share, _MAX_BYTES_OF_ONE_PATTERN))
    try:
        jsonschema_rs.Draft202012Validator(schema, pattern_options=options, offline=True, mask="the value")
    except jsonschema_rs.ValidationError as error:
        raise BadSchema(dotted(tuple(error.instance_path)), _explained(error)) from None


def _patterns(document: Any) -> int:
    """Count all that looks like a pattern, wherever it stands: a reference can make a schema of any object."""
    count = 0
    waiting = [document]
    while waiting:
        value = waiting.pop()
        waiting += _containers_in(value)
        if isinstance(value, dict):
            named = value.get("patternProperties")
            count += isinstance(value.get("pattern"), str) + (len(named) if isinstance(named, dict) else 0)
    return count


def _explained(error: jsonschema_rs.ValidationError) -> str:
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AnyOf() if error.instance_path[-1:] == ["type"]:
            return f"{shown(error.instance)} is not a type; known are {', '.join(_TYPES)}"
        case jsonschema_rs.ValidationErrorKind.Format(format="regex"):
            return (
                "is not a regular expression that can be matched in linear time "
                "(look-around and back-references cannot), or is too large a one"
            )
    return error.message[:_LONGEST_MESSAGE]


def _check_wire(schema: Schema) -> None:
    try:
        wire = derive(schema)
    except UnderivableSchema as bad:
        raise BadSchema(bad.path, bad.message) from None
    if not _is_object(wire):
        raise BadSchema("", 'must describe an object: "type": "object" at its root, or in what its root leads to')


def _is_object(wire: dict[str, Any]) -> bool:
    if "type" in wire:
        return bool(wire["type"] == "object")
    return "anyOf" in wire and all(_is_object(branch) for branch in wire["anyOf"])
