"""How faults spoil an answer that will be billed: what it says, how much of it there is, and why it ended."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from devkit.emulator import usage
from devkit.emulator.answers import Answer, Shape
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.fault_replies import ODD_MARK
from devkit.emulator.faults import Fault

_MISFITS = ("emulated: not what the schema asks for", 0.5, None, [None], {"emulated": None}, False)
_LOOP = " emulated again and"
_LOOP_REPEATS = 400
_DEPTH = 100_000
_MOST_LEAVES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a provider calls the ends of an answer."""

    stop: str
    at_limit: str


def spoilt(answer: Answer, fault: Fault | None, schema: Mapping[str, Any] | None, words: Words) -> Answer:
    """Return the answer as the fault leaves it: it is billed like that."""
    if fault is None:
        return answer
    if reason := _REASONS.get(fault.kind):
        return _without_content(answer, reason)
    if spoil := _TEXTS.get(fault.kind):
        return _with_text(answer, spoil(answer.text, schema), finish_reason=words.stop)
    shape = _SHAPES.get(fault.kind)
    return answer if shape is None else shape(answer, fault, words)


def _blocked(answer: Answer, fault: Fault, _: Words) -> Answer:
    return dataclasses.replace(_empty(answer, Shape.NO_CANDIDATES, ""), block_reason=fault.reason or "SAFETY")


def _thoughts_only(answer: Answer, _: Fault, words: Words) -> Answer:
    return _thinking(_empty(answer, Shape.THOUGHTS_ONLY, words.stop), answer)


def _spent_on_thoughts(answer: Answer, _: Fault, words: Words) -> Answer:
    return _thinking(_empty(answer, Shape.NO_PARTS, words.at_limit), answer)


def _at_limit(answer: Answer, _: Fault, words: Words) -> Answer:
    return _with_text(answer, _half(answer), finish_reason=words.at_limit)


def _looping(answer: Answer, _: Fault, words: Words) -> Answer:
    return _with_text(answer, _half(answer) + _LOOP * _LOOP_REPEATS, finish_reason=words.at_limit)


def _to_be_continued(answer: Answer, _: Fault, __: Words) -> Answer:
    cut = _with_text(answer, _half(answer), finish_reason="CONTINUATION")
    return dataclasses.replace(cut, continuation_token="emulated")


def _interrupted(answer: Answer, _: Fault, __: Words) -> Answer:
    return _with_text(answer, _half(answer), finish_reason="insufficient_system_resource")


def _half(answer: Answer) -> str:
    return answer.text[: len(answer.text) // 2]


def _with_text(answer: Answer, text: str, *, finish_reason: str) -> Answer:
    used = dataclasses.replace(answer.usage, candidates=usage.text_tokens(text))
    return dataclasses.replace(answer, text=text, finish_reason=finish_reason, usage=used)


def _empty(answer: Answer, shape: Shape, finish_reason: str) -> Answer:
    used = dataclasses.replace(answer.usage, candidates=0, thoughts=0)
    return dataclasses.replace(answer, text="", shape=shape, finish_reason=finish_reason, usage=used)


def _without_content(answer: Answer, finish_reason: str) -> Answer:
    return _thinking(_empty(answer, Shape.NO_CONTENT, finish_reason), answer)


def _thinking(answer: Answer, whole: Answer) -> Answer:
    """Return an answer that has nothing to show for its thoughts, which are billed all the same."""
    used = dataclasses.replace(answer.usage, thoughts=max(1, whole.usage.thoughts))
    return dataclasses.replace(answer, usage=used)


def _misfit(_: str, schema: Mapping[str, Any] | None) -> str:
    """Return JSON that the schema refuses, if it refuses anything."""
    for value in _MISFITS:
        if schema is not None and not jsonschema_rs.is_valid(dict(schema), value):
            return json.dumps(value)
    return json.dumps(_MISFITS[0])


def _one_misfit(text: str, schema: Mapping[str, Any] | None) -> str:
    """Return the answer with one wrong value in it, as deep inside as the schema allows."""
    if schema is None:
        return _misfit(text, schema)
    fits = jsonschema_rs.validator_for(dict(schema)).is_valid
    for number, path in enumerate(sorted(_leaves(json.loads(text), ()), key=len, reverse=True)):
        if number >= _MOST_LEAVES:
            break
        for value in _MISFITS:
            document = json.loads(text)
            if path and not fits(_put(document, path, value)):
                return json.dumps(document, indent=2, ensure_ascii=False)
    return _misfit(text, schema)


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        yield path
    for name, member in members:
        yield from _leaves(member, (*path, name))


def _put(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


def _inserted(text: str, odd: str) -> str:
    """Return the text with something put into its first string value."""
    start = text.find('": "') + 4 if '": "' in text else text.find('"') + 1
    return text[:start] + odd + text[start:]


_TEXTS: Mapping[FaultKind, Callable[[str, Mapping[str, Any] | None], str]] = {
    FaultKind.FENCED_JSON: lambda text, _: f"```json\n{text}\n```",
    FaultKind.PREFIXED_JSON: lambda text, _: f"ny{text}",
    FaultKind.CUT_JSON: lambda text, _: text[: max(1, len(text) // 2)],
    FaultKind.DEEP_JSON: lambda *_: "[" * _DEPTH + "]" * _DEPTH,
    FaultKind.LONE_SURROGATE: lambda text, _: _inserted(text, "\\ud800\\u0000"),
    FaultKind.ODD_UTF8: lambda text, _: _inserted(text, ODD_MARK),
    FaultKind.WRONG_SCHEMA: _misfit,
    FaultKind.WRONG_VALUE: _one_misfit,
    FaultKind.WHITESPACE: lambda text, _: " " * len(text),
}

_REASONS: Mapping[FaultKind, str] = {
    FaultKind.SAFETY: "SAFETY",
    FaultKind.RECITATION: "RECITATION",
    FaultKind.LANGUAGE: "LANGUAGE",
    FaultKind.OTHER: "OTHER",
    FaultKind.CONTENT_FILTER: "content_filter",
}

_SHAPES: Mapping[FaultKind, Callable[[Answer, Fault, Words], Answer]] = {
    FaultKind.BLOCKED: _blocked,
    FaultKind.NO_CANDIDATES: lambda answer, *_: _empty(answer, Shape.NO_CANDIDATES, ""),
    FaultKind.NO_CONTENT: lambda answer, _, words: _empty(answer, Shape.NO_CONTENT, words.stop),
    FaultKind.NO_PARTS: lambda answer, _, words: _empty(answer, Shape.NO_PARTS, words.stop),
    FaultKind.NO_USAGE: lambda answer, *_: dataclasses.replace(answer, tells_usage=False),
    FaultKind.THOUGHTS_ONLY: _thoughts_only,
    FaultKind.MAX_TOKENS: _at_limit,
    FaultKind.MAX_TOKENS_NO_PARTS: _spent_on_thoughts,
    FaultKind.LOOPING: _looping,
    FaultKind.UNKNOWN_REASON: lambda answer, *_: dataclasses.replace(answer, finish_reason="BRAND_NEW"),
    FaultKind.FINISH_REASON: lambda answer, fault, _: dataclasses.replace(answer, finish_reason=fault.reason or ""),
    FaultKind.CONTINUATION: _to_be_continued,
    FaultKind.INSUFFICIENT_RESOURCE: _interrupted,
    FaultKind.REROUTED: lambda answer, fault, _: dataclasses.replace(
        answer, served_model=fault.served_model or answer.served_model
    ),
    FaultKind.DOWNGRADED: lambda answer, *_: dataclasses.replace(answer, service_tier="standard"),
}
