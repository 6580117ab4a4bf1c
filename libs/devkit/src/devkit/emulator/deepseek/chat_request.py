"""One chat completion request: what the body asks for, or why the real server would refuse it.

JSON mode knows no schema. A prompt that wants one says so in a line of its own, `JSON schema: {…}`, and the emulator
reads it there.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Never

from devkit.emulator.deepseek import chat_errors

_SCHEMA_LINE = "JSON schema: "
_ROLES = ("system", "user", "assistant")
_MOST_TOKENS = 393_216


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A sound request.

    Attributes:
        model: As it is asked for.
        prompt: The texts of the user's messages, one a line.
        text: The texts of all messages, one a line.
        schema: What the prompt says of the answer's form; None if it says nothing.
        wants_json: Whether the answer must be JSON.
        max_tokens: Of the answer, its reasoning included; None is no bound.
        thinks: Whether the model reasons before it answers.
    """

    model: str
    prompt: str
    text: str
    schema: dict[str, Any] | None
    wants_json: bool
    max_tokens: int | None
    thinks: bool


def read_request(body: bytes) -> ChatRequest:
    """Return what a body asks for.

    Raises:
        Refused: The real server would refuse it, or the emulator cannot do it.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise chat_errors.invalid_format(str(error)) from None
    if not isinstance(document, dict):
        raise chat_errors.invalid_parameters("expected an object")
    messages = _messages(document)
    _check_options(document)
    text = "\n".join(content for _, content in messages)
    wants_json = _wants_json(document)
    if wants_json and "json" not in text.lower():
        raise chat_errors.json_not_mentioned()
    return ChatRequest(
        model=_typed(document, "model", str) or "",
        prompt="\n".join(content for role, content in messages if role == "user"),
        text=text,
        schema=_schema(text),
        wants_json=wants_json,
        max_tokens=document.get("max_tokens"),
        thinks=_thinks(document),
    )


def _messages(document: dict[str, Any]) -> list[tuple[str, str]]:
    messages = _typed(document, "messages", list)
    if not messages:
        raise chat_errors.invalid_request("Empty input messages")
    found = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise chat_errors.invalid_parameters(f"messages[{index}]: role must be one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str):
            raise chat_errors.invalid_parameters(f"messages[{index}]: content must be a string")
        found.append((message["role"], message["content"]))
    return found


def _check_options(document: dict[str, Any]) -> None:
    if document.get("stream"):
        raise chat_errors.not_emulated("stream")
    if document.get("tools"):
        raise chat_errors.not_emulated("tools")
    temperature = document.get("temperature")
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float):
            raise chat_errors.invalid_parameters("temperature: expected a number")
        if not 0 <= temperature <= 2 or not math.isfinite(temperature):
            raise chat_errors.invalid_request("Invalid temperature value, the valid range of temperature is [0, 2.0]")
    most = document.get("max_tokens")
    if most is not None:
        if isinstance(most, bool) or not isinstance(most, int):
            raise chat_errors.invalid_parameters("max_tokens: expected an integer")
        if not 1 <= most <= _MOST_TOKENS:
            raise chat_errors.invalid_request(
                f"Invalid max_tokens value, the valid range of max_tokens is [1, {_MOST_TOKENS}]"
            )


def _wants_json(document: dict[str, Any]) -> bool:
    kind = (_typed(document, "response_format", dict) or {}).get("type", "text")
    if kind not in ("text", "json_object"):
        raise chat_errors.invalid_request("This response_format type is unavailable now")
    return bool(kind == "json_object")


def _thinks(document: dict[str, Any]) -> bool:
    kind = (_typed(document, "thinking", dict) or {}).get("type", "enabled")
    if kind not in ("enabled", "disabled"):
        raise chat_errors.invalid_parameters("thinking.type: must be enabled or disabled")
    return bool(kind == "enabled")


def _typed(document: dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if value is not None and not isinstance(value, kind):
        raise chat_errors.invalid_parameters(f"{name}: invalid type")
    return value


def _schema(text: str) -> dict[str, Any] | None:
    lines = [line for line in text.splitlines() if line.startswith(_SCHEMA_LINE)]
    if not lines:
        return None
    try:
        schema = json.loads(lines[-1].removeprefix(_SCHEMA_LINE))
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, dict) else None


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"unexpected {name}")
