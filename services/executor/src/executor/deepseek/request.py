"""A request in the words of DeepSeek's chat completions.

https://api-docs.deepseek.com/api/create-chat-completion and https://api-docs.deepseek.com/guides/json_mode
"""

import json
from collections.abc import Mapping

from executor.ports import ModelRequest, UnsendableRequest

DEFAULT_MAX_TOKENS = 32_768
"""JSON mode may go on with blanks for ever, so there is always a limit."""

_SCHEMA_LINE = "JSON schema: "


def body(request: ModelRequest) -> Mapping[str, object]:
    """Return the body of the call. Raises UnsendableRequest."""
    if request.images:
        raise UnsendableRequest("DeepSeek is not shown images.")
    generation = request.generation
    message: dict[str, object] = {
        "model": request.model,
        "messages": [{"role": "user", "content": content(request)}],
        "response_format": {"type": "json_object"},
        # On by default, and of no use where JSON is reworked into JSON.
        "thinking": {"type": "disabled"},
        "max_tokens": generation.max_output_tokens or DEFAULT_MAX_TOKENS,
        "stream": False,
    }
    if generation.temperature is not None:
        message["temperature"] = generation.temperature
    return message


def content(request: ModelRequest) -> str:
    """Return the prompt, what the step before gave, and the schema: JSON mode itself knows none, and wants the word."""
    return f"{request.prompt}\n\n{request.input_json}\n{_SCHEMA_LINE}{_compact(request.schema_json)}"


def _compact(schema_json: str) -> str:
    try:
        return json.dumps(json.loads(schema_json), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise UnsendableRequest(f"The schema cannot be told to the model: {error}") from None
