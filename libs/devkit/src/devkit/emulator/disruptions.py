"""What each fault does to a call: refuse it, spoil its answer, or break its reply or its connection."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from devkit.emulator import errors, usage
from devkit.emulator.errors import ApiError, ExceededQuota
from devkit.emulator.faults import DEFAULT_RETRY_SECONDS, Fault, FaultKind
from devkit.emulator.reply import Answer, Ending, Reply

_Refusal = Callable[[Fault, str, str], ApiError]

_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
_MISFITS = ("emulated: not what the schema asks for", 0.5, None, [None], {"emulated": None}, False)
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_NOT_JSON = b"upstream connect error or disconnect/reset before headers"


def reply_at_once(fault: Fault | None, *, model: str, api_version: str) -> Reply | None:
    """Return what is replied before the model sees the call; None if it does see it."""
    if fault is None:
        return None
    if refusal := _REFUSALS.get(fault.kind):
        return Reply.of_error(refusal(fault, model, api_version))
    return _BREAKS.get(fault.kind)


def reply_at_last(fault: Fault | None) -> Reply | None:
    """Return what is replied to a call that took its time for nothing; None if there will be an answer."""
    match fault and fault.kind:
        case FaultKind.INTERNAL:
            return Reply.of_error(errors.internal())
        case FaultKind.UNAVAILABLE:
            return Reply.of_error(errors.overloaded())
        case FaultKind.DEADLINE:
            return Reply.of_error(errors.deadline_exceeded())
        case FaultKind.HTML:
            return Reply(body=_HTML, status=502, media_type="text/html; charset=UTF-8")
        case _:
            return None


def spoilt(answer: Answer, fault: Fault | None, schema: Mapping[str, Any] | None) -> Answer:
    """Return the answer as the fault leaves it: it is billed like that."""
    match fault and fault.kind:
        case FaultKind.BLOCKED:
            used = dataclasses.replace(answer.usage, candidates=0, thoughts=0)
            return dataclasses.replace(answer, text="", finish_reason="", block_reason="SAFETY", usage=used)
        case FaultKind.MAX_TOKENS:
            return _with_text(answer, answer.text[: len(answer.text) // 2], finish_reason="MAX_TOKENS")
        case FaultKind.WRONG_SCHEMA:
            return _with_text(answer, _misfit(schema), finish_reason="STOP")
        case _:
            return answer


def broken(reply: Reply, fault: Fault | None) -> Reply:
    """Return the reply to a billed call as the fault leaves it."""
    match fault and fault.kind:
        case FaultKind.EMPTY:
            return dataclasses.replace(reply, body=b"")
        case FaultKind.NOT_JSON:
            return dataclasses.replace(reply, body=_NOT_JSON)
        case FaultKind.TRUNCATED:
            return dataclasses.replace(reply, ending=Ending.CUT)
        case FaultKind.RESET_AFTER:
            return dataclasses.replace(reply, ending=Ending.RESET)
        case _:
            return reply


def _minute_quota(fault: Fault, model: str, _: str) -> ApiError:
    return errors.quota_exceeded(model, [_quota(fault, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier")])


def _day_quota(fault: Fault, model: str, _: str) -> ApiError:
    return errors.quota_exceeded(model, [_quota(fault, "GenerateRequestsPerDayPerProjectPerModel-FreeTier")])


def _quota(fault: Fault, quota_id: str) -> ExceededQuota:
    seconds = DEFAULT_RETRY_SECONDS if fault.retry_seconds is None else fault.retry_seconds
    return ExceededQuota(metric=_METRIC, quota_id=quota_id, limit=20, retry_seconds=seconds)


def _with_text(answer: Answer, text: str, *, finish_reason: str) -> Answer:
    used = dataclasses.replace(answer.usage, candidates=usage.text_tokens(text))
    return dataclasses.replace(answer, text=text, finish_reason=finish_reason, usage=used)


def _misfit(schema: Mapping[str, Any] | None) -> str:
    """Return JSON that the schema refuses, if it refuses anything."""
    for value in _MISFITS:
        if schema is not None and not jsonschema_rs.is_valid(dict(schema), value):
            return json.dumps(value)
    return json.dumps(_MISFITS[0])


_REFUSALS: Mapping[FaultKind, _Refusal] = {
    FaultKind.MINUTE_QUOTA: _minute_quota,
    FaultKind.DAY_QUOTA: _day_quota,
    FaultKind.BARE_QUOTA: lambda *_: errors.resource_exhausted(),
    FaultKind.BILLING: lambda *_: errors.credits_depleted(429),
    FaultKind.PAYMENT_REQUIRED: lambda *_: errors.credits_depleted(402),
    FaultKind.RETIRED: lambda _, model, api_version: errors.model_not_found(model, api_version),
}

_BREAKS: Mapping[FaultKind, Reply] = {
    FaultKind.HANG: Reply(ending=Ending.SILENCE),
    FaultKind.RESET_BEFORE: Reply(ending=Ending.RESET),
}
