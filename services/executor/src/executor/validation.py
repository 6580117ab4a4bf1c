"""Checks the model's answer against the caller's full JSON schema.

An answer that stands whole in one Markdown fence, ```json as models now and then begin in spite of JSON mode, is taken out
of it first: what is inside must be JSON and satisfy the schema like any other answer.

The schema is bound to draft 2020-12 as the scheduler binds it at submission; references leave the document nowhere, and
patterns run in time linear in the text.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence

import jsonschema_rs

from policies.ladder import Flaw

MAX_COMPILED = 256
_MAX_MESSAGE = 500
_MAX_PATH = 256

# In messages: the answer itself belongs in no log and no span.
_MASK = "the value"
_FENCE = "```"


class UnusableSchema(Exception):
    """No answer can be checked against the schema; the message says why."""


class InvalidOutput(Exception):
    """The answer is not JSON, or not what the schema asks for; the message says why.

    Attributes:
        flaw: Which of the two.
        path: Where in the answer, as items[0].total; "" for all of it.
    """

    def __init__(self, message: str, *, flaw: Flaw, path: str = "") -> None:
        super().__init__(message[:_MAX_MESSAGE])
        self.flaw = flaw
        self.path = path


class Validator:
    """One compiled schema."""

    def __init__(self, schema: dict[str, object]) -> None:
        """Compile it. Raises ValueError, jsonschema_rs.ValidationError among them."""
        self._compiled = jsonschema_rs.Draft202012Validator(
            {name: value for name, value in schema.items() if name != "$schema"},
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
            mask=_MASK,
        )
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def validate(self, text: str) -> str:
        """Return the answer as compact JSON, members in the answer's order. Raises InvalidOutput."""
        try:
            document = self._decoder.decode(_unfenced(text))
            self._compiled.validate(document)
            output = self._encoder.encode(document)
            output.encode()
        except jsonschema_rs.ValidationError as error:
            path = _dotted(error.instance_path)[:_MAX_PATH]
            where = f"{path}: " if path else ""
            raise InvalidOutput(f"{where}{error.message}", flaw=Flaw.SCHEMA_MISMATCH, path=path) from None
        except (ValueError, RecursionError) as error:
            # Also a number beyond every double, half of a surrogate pair, a document too deep.
            raise InvalidOutput(str(error), flaw=Flaw.NOT_JSON) from None
        return output


class Validators:
    """Compiled schemas by their text, the latest used ones kept: backends send the same few again and again."""

    def __init__(self, *, max_compiled: int = MAX_COMPILED) -> None:
        self._max_compiled = max_compiled
        self._compiled: OrderedDict[str, Validator] = OrderedDict()

    def of(self, schema_json: str) -> Validator:
        """Return the validator of a schema. Raises UnusableSchema."""
        validator = self._compiled.get(schema_json)
        if validator is None:
            validator = self._compiled[schema_json] = _compile(schema_json)
            if len(self._compiled) > self._max_compiled:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(schema_json)
        return validator


def _compile(schema_json: str) -> Validator:
    try:
        schema = json.loads(schema_json)
        if not isinstance(schema, dict):
            raise UnusableSchema("The schema is not a JSON object.")
        return Validator(schema)
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(f"The schema cannot be used: {error}"[:_MAX_MESSAGE]) from None


def _unfenced(text: str) -> str:
    """Return what stands in a Markdown fence around the whole text; the text itself if there is none."""
    stripped = text.strip()
    if not (stripped.startswith(_FENCE) and stripped.endswith(_FENCE)) or len(stripped) < 2 * len(_FENCE):
        return text
    label, _, inside = stripped[len(_FENCE) : -len(_FENCE)].partition("\n")
    return inside if label.strip().lower() in ("", "json") else text


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _dotted(path: Sequence[str | int]) -> str:
    """Return a path as the contract writes it: items[0].total."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
