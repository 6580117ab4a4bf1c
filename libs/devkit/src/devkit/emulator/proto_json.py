"""Reads JSON as Google's front end does: a message by its field table, every fault found and told at once.

Names are taken in camelCase and in snake_case, as proto JSON has it, bytes in both base64 alphabets; null is absent.
"""

import base64
import binascii
import json
import math
import re
from typing import Any, Never

from devkit.emulator import errors
from devkit.emulator.messages import ENUMERATIONS, MESSAGES, ONE_OF, UNSUPPORTED

_PACKAGE = "type.googleapis.com/google.ai.generativelanguage.v1beta."
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_CAPITAL = re.compile("[A-Z]")
_ECHOED_CHARACTERS = 100


def parse(body: bytes) -> object:
    """Return what a JSON body says.

    Raises:
        ApiError: It is not JSON.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except ValueError as error:
        raise errors.malformed_json(f"{error}.") from None


def read_message(name: str, value: object) -> dict[str, Any]:
    """Return a message with its fields under their snake_case names, enumerations as upper-case strings.

    Raises:
        ApiError: Unknown names, wrong kinds of values, or fields that the emulator does not emulate.
    """
    reader = _Reader()
    message = reader.message(name, value, "")
    if reader.violations:
        raise errors.invalid_payload(reader.violations)
    return message


class _Reader:
    """One run; it collects what is wrong and reads on."""

    def __init__(self) -> None:
        self.violations: list[errors.Violation] = []

    def message(self, name: str, value: object, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._bad_value(path, _PACKAGE + name, value)
            return {}
        fields = MESSAGES[name]
        message: dict[str, Any] = {}
        for key, entry in value.items():
            field = _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", key)
            if field not in fields:
                self._unknown(path, key)
            elif entry is not None:
                self._check_one_of(name, field, message, path)
                message[field] = self._value(fields[field], entry, _join(path, field))
        return message

    def _value(self, kind: str, value: object, path: str) -> object:
        if kind == UNSUPPORTED:
            raise errors.not_emulated(path)
        if kind.endswith("*"):
            return self._list(kind.removesuffix("*"), value, path)
        if kind.endswith("{}"):
            return self._map(kind.removesuffix("{}"), value, path)
        if kind in MESSAGES:
            return self.message(kind, value, path)
        if kind in ENUMERATIONS:
            return self._enumeration(kind, value, path)
        return self._scalar(kind, value, path)

    def _list(self, kind: str, value: object, path: str) -> list[object]:
        if not isinstance(value, list):
            self._bad_value(path, _PACKAGE + kind if kind in MESSAGES else f"TYPE_{kind.upper()}", value)
            return []
        return [self._value(kind, entry, f"{path}[{index}]") for index, entry in enumerate(value)]

    def _map(self, kind: str, value: object, path: str) -> dict[str, object]:
        if not isinstance(value, dict):
            self._bad_value(path, "Map", value)
            return {}
        return {
            key: self._value(kind, entry, f"{path}[{index}].value") for index, (key, entry) in enumerate(value.items())
        }

    def _enumeration(self, kind: str, value: object, path: str) -> str:
        if isinstance(value, str) and value.upper() in ENUMERATIONS[kind]:
            return value.upper()
        self._bad_value(path, _PACKAGE + kind, value)
        return ""

    def _scalar(self, kind: str, value: object, path: str) -> object:  # noqa: PLR0911 - a table, one row a kind
        match kind, value:
            case "any", _:
                return value
            case "string", str():
                return value
            case "bool", bool():
                return value
            case "bytes", str():
                return self._bytes(value, path)
            case (("int" | "float"), bool()):
                pass
            case "int", int() | float() | str() if (whole := _whole(value)) is not None:
                return whole
            case "float", int() | float() | str() if (number := _number(value)) is not None:
                return number
        self._bad_value(path, f"TYPE_{'INT32' if kind == 'int' else kind.upper()}", value)
        return None

    def _bytes(self, text: str, path: str) -> bytes:
        try:
            encoded = text.encode("ascii").translate(_STANDARD_ALPHABET).rstrip(b"=")
            return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            echo = text if len(text) <= _ECHOED_CHARACTERS else f"{text[:_ECHOED_CHARACTERS]}..."
            problem = f"Base64 decoding failed for {json.dumps(echo)}"
            self._violated(path, f"Invalid value at '{path}' (TYPE_BYTES), {problem}")
            return b""

    def _check_one_of(self, name: str, field: str, message: dict[str, Any], path: str) -> None:
        one_of = ONE_OF.get(name, frozenset())
        if field in one_of and message.keys() & one_of:
            problem = f"oneof field 'data' is already set. Cannot set '{field}'"
            self._violated(path, f"Invalid value at '{path}' (oneof), {problem}")

    def _unknown(self, path: str, key: str) -> None:
        where = f" at '{path}'" if path else ""
        self._violated(path, f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.')

    def _bad_value(self, path: str, kind: str, value: object) -> None:
        echo = json.dumps(value)
        if len(echo) > _ECHOED_CHARACTERS:
            echo = f"{echo[:_ECHOED_CHARACTERS]}..."
        self._violated(path, f"Invalid value at '{path}' ({kind}), {echo}")

    def _violated(self, path: str, description: str) -> None:
        self.violations.append(errors.Violation(field=path, description=description))


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"Unexpected token {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"Number {digits} is out of range")
    return number


def _number(value: float | str) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: float | str) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
