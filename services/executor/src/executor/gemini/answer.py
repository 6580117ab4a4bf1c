"""Reads the body of a generateContent answer. Every field may be absent, and of any type.

https://ai.google.dev/api/generate-content#generatecontentresponse
"""

import json
from collections.abc import Mapping

from executor.ports import ModelAnswer, UnreadableAnswer
from executor.work import Usage

_Object = Mapping[str, object]

_MAX_INT64 = 2**63 - 1


def read(body: str) -> ModelAnswer:
    """Return what a 200 says. Raises UnreadableAnswer, and nothing else."""
    answer = _document(body)
    candidate = _object(_first(answer.get("candidates")))
    return ModelAnswer(
        text=_text_of(candidate),
        finish_reason=_string(candidate.get("finishReason")),
        block_reason=_string(_object(answer.get("promptFeedback")).get("blockReason")),
        model_version=_string(answer.get("modelVersion")),
        response_id=_string(answer.get("responseId")),
        usage=_usage(answer.get("usageMetadata")),
    )


def _document(body: str) -> _Object:
    # An empty body is an answer without candidates: the caller calls it empty.
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise UnreadableAnswer("The provider's answer is not JSON.", body=body) from None
    if not isinstance(document, dict):
        raise UnreadableAnswer("The provider's answer is not a JSON object.", body=body)
    return document


def _text_of(candidate: _Object) -> str:
    parts = _object(candidate.get("content")).get("parts")
    found = [_object(part) for part in parts] if isinstance(parts, list) else []
    return "".join(_string(part.get("text")) for part in found if part.get("thought") is not True)


def _usage(metadata: object) -> Usage | None:
    if not isinstance(metadata, dict):
        return None
    details = metadata.get("promptTokensDetails")
    by_modality = [_object(detail) for detail in details] if isinstance(details, list) else []
    return Usage(
        input_tokens=_count(metadata.get("promptTokenCount")),
        output_tokens=_count(metadata.get("candidatesTokenCount")),
        thinking_tokens=_count(metadata.get("thoughtsTokenCount")),
        cached_tokens=_count(metadata.get("cachedContentTokenCount")),
        image_tokens=min(
            sum(_count(detail.get("tokenCount")) for detail in by_modality if detail.get("modality") == "IMAGE"),
            _MAX_INT64,
        ),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_INT64 else 0


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _object(value: object) -> _Object:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
