"""An answer that fits its schema, made up from the pixels: the same pixels always give the same.

Where the schema has a string or a number with room, one changed pixel changes it. Null is answered only where nothing
else fits; optional properties are there unless nothing fits them, or they lead back into themselves.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import jsonschema_rs

from devkit.emulator import errors, made_up_numbers, made_up_strings
from devkit.emulator.branches import Branch, Branches, item_of, properties_of
from devkit.emulator.subject import Subject

_Value = TypeVar("_Value")

_MAX_ALTERNATIVES = 64
_MAX_ITEMS_OF_OWN_ACCORD = 3
_SCALAR_KEYWORDS = frozenset({"type", "minimum", "maximum", "minLength", "maxLength", "format"})

# Without a type, a keyword tells what is meant.
_TYPE_OF_KEYWORD: Mapping[str, str] = {
    "properties": "object",
    "minProperties": "object",
    "maxProperties": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "minimum": "number",
    "maximum": "number",
}


class _Unsatisfiable(Exception):
    """No value fits."""


def answer_text(
    schema: Mapping[str, Any] | None, subject: Subject, *, wants_json: bool, speaker: str = "Gemini emulator"
) -> str:
    """Return the text of the answer: JSON that fits the schema, or a sentence where there is none.

    Raises:
        ApiError: Nothing fits the schema, or it is too much to find out.
    """
    sentence = f"This answer was made up by the {speaker}: {subject.description}, {subject.mark('')[:8]}."
    if schema is None and not wants_json:
        return sentence
    if schema is None:
        return json.dumps({"emulated": sentence})
    try:
        value = _Answer(schema, subject).value(schema, "", ("#",))
    except _Unsatisfiable:
        raise errors.invalid_argument("nothing fits the schema") from None
    except RecursionError:
        raise errors.too_many_states() from None
    return json.dumps(value, indent=2, ensure_ascii=False)


class _Answer:
    """One run over a document; a path names each place in the answer, and what is drawn for it."""

    def __init__(self, root: Mapping[str, Any], subject: Subject) -> None:
        self._branches = Branches(root)
        self._subject = subject

    def value(self, schema: Any, path: str, references: tuple[str, ...]) -> object:
        for branch in self._in_order(schema, path, references):
            try:
                return self._of_branch(branch, path)
            except _Unsatisfiable:
                continue
        raise _Unsatisfiable

    def _in_order(self, schema: Any, path: str, references: tuple[str, ...]) -> list[Branch]:
        """Return the alternatives: a drawn one first, null last."""
        found = list(itertools.islice(self._branches.of(schema, references), _MAX_ALTERNATIVES))
        values = [branch for branch in found if branch.schema.get("type") != "null"]
        start = self._draw(path, "alternative") % len(values) if values else 0
        nulls = [branch for branch in found if branch.schema.get("type") == "null"]
        return [*values[start:], *values[:start], *nulls]

    def _of_branch(self, branch: Branch, path: str) -> object:  # noqa: PLR0911 - a table, one row a type
        schema = branch.schema
        if "enum" in schema:
            return self._choice(schema, path)
        kind = schema.get("type") or next((_TYPE_OF_KEYWORD[name] for name in schema if name in _TYPE_OF_KEYWORD), "")
        match kind:
            case "null":
                return None
            case "boolean":
                return bool(self._draw(path) & 1)
            case "integer":
                return _found(made_up_numbers.integer(schema, self._draw(path)))
            case "number":
                return _found(made_up_numbers.number(schema, self._fraction(schema, path)))
            case "array":
                return self._array(branch, path)
            case "object":
                return self._object(branch, path)
            case _:
                return self._string(schema, path)

    def _choice(self, schema: Mapping[str, Any], path: str) -> object:
        rules = {name: value for name, value in schema.items() if name in _SCALAR_KEYWORDS}
        choices = [choice for choice in schema["enum"] if jsonschema_rs.is_valid(rules, choice, validate_formats=True)]
        if not choices:
            raise _Unsatisfiable
        return choices[self._draw(path) % len(choices)]

    def _fraction(self, schema: Mapping[str, Any], path: str) -> float:
        """Return where in its range a number lies: one between two bounds measures, and brightness can be measured."""
        drawn = self._draw(path) / made_up_numbers.DRAWS
        if "minimum" in schema and "maximum" in schema:
            return 0.875 * self._subject.brightness + 0.125 * drawn
        return drawn

    def _string(self, schema: Mapping[str, Any], path: str) -> str:
        known = made_up_strings.formatted(schema.get("format", ""), self._draw(path))
        if known is not None:
            if schema.get("minLength", 0) <= len(known) <= schema.get("maxLength", len(known)):
                return known
            raise _Unsatisfiable
        mark = self._subject.mark(path)
        name = path.rpartition(".")[2]
        spoken = f"emulated {name}" if name else "emulated"
        wordings = (f"{spoken}: {self._subject.description}, {mark[:8]}", f"emulated {mark[:8]}", mark[:8], mark)
        return _found(made_up_strings.text(schema, wordings))

    def _array(self, branch: Branch, path: str) -> list[object]:
        schema = branch.schema
        least, most = schema.get("minItems", 0), schema.get("maxItems", float("inf"))
        if least > most:
            raise _Unsatisfiable
        freely = 1 + self._draw(path, "length") % _MAX_ITEMS_OF_OWN_ACCORD
        wanted = min(max(least, len(schema.get("prefixItems", ())), freely), most)
        items: list[object] = []
        while len(items) < wanted:
            self._branches.step()
            try:
                items.append(self.value(item_of(schema, len(items)), f"{path}[{len(items)}]", branch.references))
            except _Unsatisfiable:
                break
        if len(items) < least:
            raise _Unsatisfiable
        return items

    def _object(self, branch: Branch, path: str) -> dict[str, object]:
        schema = branch.schema
        required = schema.get("required", ())
        most = schema.get("maxProperties", float("inf"))
        if max(len(required), schema.get("minProperties", 0)) > most:
            raise _Unsatisfiable
        room = most - len(required)
        members: dict[str, object] = {}
        for name in _ordered_names(schema):
            if name not in required and room <= 0:
                continue
            try:
                members[name] = self.value(properties_of(schema, name), f"{path}.{name}", branch.references)
            except _Unsatisfiable:
                if name in required:
                    raise
            else:
                room -= name not in required
        self._add_members(members, branch, path)
        return members

    def _add_members(self, members: dict[str, object], branch: Branch, path: str) -> None:
        """Add properties with names of the emulator's own, where the schema wants some or names none."""
        schema = branch.schema
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", float("inf"))
        wanted = max(least, 0 if schema.get("properties") else min(1, most))
        names = (
            name for name in map("emulated_{}".format, itertools.count(1)) if name not in schema.get("properties", ())
        )
        while len(members) < wanted:
            self._branches.step()
            name = next(names)
            try:
                members[name] = self.value(properties_of(schema, name), f"{path}.{name}", branch.references)
            except _Unsatisfiable:
                if len(members) < least:
                    raise
                return

    def _draw(self, path: str, purpose: str = "value") -> int:
        return self._subject.draw(f"{purpose} {path}")


def _ordered_names(schema: Mapping[str, Any]) -> list[str]:
    properties = schema.get("properties", {})
    wanted = [name for name in schema.get("propertyOrdering", ()) if name in properties]
    return list(dict.fromkeys((*wanted, *properties, *schema.get("required", ()))))


def _found(value: _Value | None) -> _Value:
    if value is None:
        raise _Unsatisfiable
    return value
