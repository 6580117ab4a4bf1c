"""Bodies for the emulated DeepSeek, as the executor sends them."""

import json
from typing import Any

CHAT = "/chat/completions"
MODEL = "deepseek-v4-flash"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}, "score": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["verdict", "score"],
}


def chat(prompt: str = "Judge this.", *, schema: object = SCHEMA, **fields: Any) -> dict[str, Any]:
    content = f'{prompt}\n\n{{"title":"x"}}\nJSON schema: {json.dumps(schema)}'
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "response_format": {"type": "json_object"},
        "thinking": {"type": "disabled"},
        "max_tokens": 4096,
        **fields,
    }
