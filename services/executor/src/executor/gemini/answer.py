"""Reads the body of a generateContent answer. Every field may be absent, and of any type.

https://ai.google.dev/api/generate-content#generatecontentresponse
"""

import json
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # typeshed knows only the one in C

from executor.loose_json import Object, bounded_sum, count_of, first_of, name_of, object_of, text_of
from executor.ports import ModelAnswer, UnreadableAnswer
from executor.work import Usage

_MAX_KEPT = 64 * 1024

_LARGE_BODY = 128 * 1024


def read(body: str) -> ModelAnswer:
    """Return what a 200 says. Raises UnreadableAnswer, and nothing else."""
    answer = _document(body)
    candidate = object_of(first_of(answer.get("candidates")))
    return ModelAnswer(
        text=_text_of(candidate),
        finish_reason=name_of(candidate.get("finishReason")),
        block_reason=name_of(object_of(answer.get("promptFeedback")).get("blockReason")),
        model_version=name_of(answer.get("modelVersion")),
        response_id=name_of(answer.get("responseId")),
        usage=_usage(answer.get("usageMetadata")),
        service_tier=name_of(object_of(answer.get("usageMetadata")).get("serviceTier")).upper(),
        has_candidate=bool(candidate),
    )


def _document(body: str) -> Object:
    # An empty body is an answer without candidates: the caller calls it empty.
    try:
        document = _decoder(body).decode(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise UnreadableAnswer("The provider's answer is not JSON.", body=body[:_MAX_KEPT]) from None
    if not isinstance(document, dict):
        raise UnreadableAnswer("The provider's answer is not a JSON object.", body=body[:_MAX_KEPT])
    return document


def _decoder(body: str) -> json.JSONDecoder:
    """Return what reads a body. The reader in C lets no other thread run, so a large body gets the one in Python.

    It takes as long as that one for an answer, which is a few long strings, and much longer for a body of many values.
    """
    decoder = json.JSONDecoder()
    if len(body) > _LARGE_BODY:
        decoder.scan_once = py_make_scanner(decoder)  # type: ignore[attr-defined] # neither does it know this
    return decoder


def _text_of(candidate: Object) -> str:
    parts = object_of(candidate.get("content")).get("parts")
    found = [object_of(part) for part in parts] if isinstance(parts, list) else []
    return "".join(text_of(part.get("text")) for part in found if part.get("thought") is not True)


def _usage(metadata: object) -> Usage | None:
    if not isinstance(metadata, dict):
        return None
    details = metadata.get("promptTokensDetails")
    by_modality = [object_of(detail) for detail in details] if isinstance(details, list) else []
    return Usage(
        input_tokens=count_of(metadata.get("promptTokenCount")),
        output_tokens=count_of(metadata.get("candidatesTokenCount")),
        thinking_tokens=count_of(metadata.get("thoughtsTokenCount")),
        cached_tokens=count_of(metadata.get("cachedContentTokenCount")),
        image_tokens=bounded_sum(
            *(count_of(detail.get("tokenCount")) for detail in by_modality if detail.get("modality") == "IMAGE")
        ),
    )
