"""Reads the body of a chat completion. Every field may be absent, and of any type.

https://api-docs.deepseek.com/api/create-chat-completion
"""

import itertools
import json

from executor.loose_json import Object, count_of, first_of, name_of, object_of, text_of
from executor.ports import ModelAnswer, UnreadableAnswer
from executor.work import Usage

_MAX_KEPT = 64 * 1024


def read(body: str) -> ModelAnswer:
    """Return what a 200 says. Raises UnreadableAnswer, and nothing else.

    An answer that would not be JSON comes as blanks, which are no text.
    """
    answer = _document(body)
    choice = object_of(first_of(answer.get("choices")))
    text = text_of(object_of(choice.get("message")).get("content"))
    return ModelAnswer(
        text=text if text.strip() else "",
        finish_reason=name_of(choice.get("finish_reason")),
        model_version=name_of(answer.get("model")),
        response_id=name_of(answer.get("id")),
        usage=_usage(answer.get("usage")),
        has_candidate=bool(choice),
    )


def _document(body: str) -> Object:
    text = _without_keep_alive(body)
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise UnreadableAnswer("The provider's answer is not JSON.", body=body[:_MAX_KEPT]) from None
    if not isinstance(document, dict):
        raise UnreadableAnswer("The provider's answer is not a JSON object.", body=body[:_MAX_KEPT])
    return document


def _without_keep_alive(body: str) -> str:
    """Drop what keeps the connection alive while the request waits there: blank lines, and comments of a stream."""
    return "\n".join(itertools.dropwhile(_keeps_alive, body.split("\n")))


def _keeps_alive(line: str) -> bool:
    return not line.strip() or line.startswith(":")


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    reasoning = count_of(object_of(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    return Usage(
        input_tokens=count_of(usage.get("prompt_tokens")),
        # What is counted as completion has the reasoning in it.
        output_tokens=max(0, count_of(usage.get("completion_tokens")) - reasoning),
        thinking_tokens=reasoning,
        cached_tokens=count_of(usage.get("prompt_cache_hit_tokens")),
    )
