"""`responseSchema`: the OpenAPI subset, checked as the real server does and translated into JSON Schema.

Its types are written in upper case, null is `nullable`, and keys come in alphabetical order unless `propertyOrdering`
says otherwise. The translation uses the keywords of `json_schema`, and lengths beside them.
"""

from collections.abc import Mapping
from typing import Any

from devkit.emulator import errors

_KEYWORDS: Mapping[str, str] = {
    "format": "format",
    "enum": "enum",
    "required": "required",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "minimum": "minimum",
    "maximum": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}
_SIZES = frozenset({"min_items", "max_items", "min_properties", "max_properties", "min_length", "max_length"})


def to_json_schema(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message `Schema` as JSON Schema.

    Raises:
        ApiError: The real server would refuse it.
    """
    return _converted(message, "generation_config.response_schema")


def _converted(message: Mapping[str, Any], path: str) -> dict[str, Any]:
    kind = message.get("type", "TYPE_UNSPECIFIED").lower()
    _check_message(message, kind, path)
    schema: dict[str, Any] = {} if kind == "type_unspecified" else {"type": kind}
    for name, keyword in _KEYWORDS.items():
        # A repeated field that is empty is one that is not set.
        if name in message and message[name] != []:
            schema[keyword] = message[name]
    if "items" in message:
        schema["items"] = _converted(message["items"], f"{path}.items")
    if message.get("any_of"):
        schema["anyOf"] = [_converted(part, f"{path}.any_of[{index}]") for index, part in enumerate(message["any_of"])]
    if properties := message.get("properties"):
        wanted = [name for name in message.get("property_ordering", ()) if name in properties]
        schema["properties"] = {
            name: _converted(properties[name], f"{path}.properties[{name}]")
            for name in dict.fromkeys((*wanted, *sorted(properties)))
        }
    return {"anyOf": [schema, {"type": "null"}]} if message.get("nullable") else schema


def _check_message(message: Mapping[str, Any], kind: str, path: str) -> None:
    if kind == "object" and not message.get("properties"):
        raise errors.invalid_request(f"{path}.properties", "should be non-empty for OBJECT type")
    if kind == "array" and "items" not in message:
        raise errors.invalid_request(f"{path}.items", "missing field.")
    if kind != "string" and message.get("enum"):
        raise errors.invalid_request(f"{path}.enum", "only allowed for STRING type")
    if kind == "string" and message.get("format", "enum") not in ("enum", "date-time"):
        raise errors.invalid_request(f"{path}.format", "only 'enum' and 'date-time' are supported for STRING type")
    for name in _SIZES & message.keys():
        if message[name] < 0:
            raise errors.invalid_request(f"{path}.{name}", "must not be negative")
    for index, name in enumerate(message.get("required", ())):
        if name not in message.get("properties", {}):
            raise errors.invalid_request(f"{path}.required[{index}]", "property is not defined")
