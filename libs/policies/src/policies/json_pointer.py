"""Places inside a JSON document: the pointers of `$ref` (RFC 6901 in a URI fragment), and dotted paths for people."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

Path: TypeAlias = tuple[str | int, ...]

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_LONGEST_STEP = 63  # characters of a name that a path shows


class BadReference(Exception):
    """A `$ref` leads nowhere; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a reference leads to, and where that stands in the document."""

    value: object
    path: Path


def follow(document: object, reference: object) -> Target:
    """Return what `reference` leads to within the document. Raises BadReference."""
    target = Target(value=document, path=())
    for token in _tokens(reference):
        child = _child(target, token)
        if child is None:
            raise BadReference(f"{shown(reference)} leads nowhere")
        target = child
    return target


def _tokens(reference: object) -> list[str]:
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise BadReference(
            f"{shown(reference)} leads out of the schema; only references that begin with # are followed"
        )
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        raise BadReference(f"{shown(reference)} names an anchor; write it as a JSON pointer, such as #/$defs/name")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _child(parent: Target, token: str) -> Target | None:
    value = parent.value
    if isinstance(value, Mapping) and token in value:
        return Target(value=value[token], path=(*parent.path, token))
    if isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
        return Target(value=value[int(token)], path=(*parent.path, int(token)))
    return None


def dotted(path: Path) -> str:
    """Write a path as people read it, such as `properties.lines.items.anyOf[1]`; long names are cut."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_cut(step)}" for step in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Quote a value for a message, cut to a bearable length."""
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_STEP else f"{text[:_LONGEST_STEP]}…"
