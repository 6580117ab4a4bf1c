"""Follows the references of a schema, in every keyword, so that checking an answer against it is bounded work.

Few references can stand for billions of schemas, or for one that never ends; both are refused, also inside keywords
that Gemini never sees, because they are evaluated on its answer.
"""

from policies.json_pointer import BadReference, Path, follow, shown
from scheduler.schema_walk import Schema, all_schemas, children

MAX_SCHEMAS = 10_000
MAX_LEVELS = 64

_UNSUPPORTED = ("$dynamicRef", "$recursiveRef")


class BadReferences(Exception):
    """A reference that cannot be accepted: where, and why."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def check_references(root: Schema) -> None:
    """Refuse references that lead nowhere, out of the schema or back to themselves, and those that multiply.

    Raises:
        BadReferences: The first one found.
    """
    for found in all_schemas(root):
        for keyword in _UNSUPPORTED:
            if keyword in found.schema:
                raise BadReferences((*found.path, keyword), "is not supported")
        if "$id" in found.schema and found.path:
            raise BadReferences((*found.path, "$id"), "is supported at the root only")
        _target(root, found.schema, found.path)
    _Expansion(root).measure(root, (), level=1)


def _target(root: Schema, schema: Schema, path: Path) -> tuple[Schema, Path] | None:
    """Return what the schema refers to with its path, None if it refers to nothing that holds schemas."""
    if "$ref" not in schema:
        return None
    try:
        target = follow(root, schema["$ref"])
    except BadReference as bad:
        raise BadReferences((*path, "$ref"), str(bad)) from None
    if not isinstance(target.value, dict | bool):
        raise BadReferences((*path, "$ref"), f"{shown(schema['$ref'])} leads to something that is not a schema")
    return (target.value, target.path) if isinstance(target.value, dict) else None


class _Expansion:
    """Measures the schema as it would be with every reference replaced by what it leads to, without doing that."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._measured: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def measure(self, schema: Schema, path: Path, *, level: int) -> tuple[int, int]:
        """Return how many schemas and levels there are from here on."""
        if id(schema) not in self._measured:
            self._measured[id(schema)] = self._sum(schema, path, level)
        count, levels = self._measured[id(schema)]
        if count > MAX_SCHEMAS:
            raise BadReferences(path, f"stands for more than {MAX_SCHEMAS} schemas, references followed")
        if level + levels - 1 > MAX_LEVELS:
            raise BadReferences(path, f"is more than {MAX_LEVELS} levels deep, references followed")
        return count, levels

    def _sum(self, schema: Schema, path: Path, level: int) -> tuple[int, int]:
        if level > MAX_LEVELS:
            raise BadReferences(path, f"is more than {MAX_LEVELS} levels deep, references followed")
        self._open.add(id(schema))
        parts = [
            self.measure(child, (*path, *steps), level=level + 1)
            for steps, child in children(schema)
            if steps[0] not in ("$defs", "definitions")
        ]
        target = _target(self._root, schema, path)
        if target is not None:
            if id(target[0]) in self._open:
                message = f"{shown(schema['$ref'])} leads back to itself; Gemini gets no recursive schema"
                raise BadReferences((*path, "$ref"), message)
            parts.append(self.measure(*target, level=level + 1))
        self._open.remove(id(schema))
        return 1 + sum(count for count, _ in parts), 1 + max((levels for _, levels in parts), default=0)
