"""Checks an answer against the caller's full JSON schema."""

import json
from functools import lru_cache

import jsonschema_rs


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


# json.loads and json.dumps would build a codec a call, for these options.
_decoder = json.JSONDecoder(parse_constant=_no_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


_MAX_MESSAGE = 1_000


class InvalidAnswer(Exception):
    """The text is not JSON, or does not fit the schema; the message says where."""


def validated(text: str, schema_json: str) -> str:
    """Return the answer as compact JSON, its keys in the model's order.

    Raises:
        InvalidAnswer: It is not what the schema asks for.
    """
    try:
        answer = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswer(f"The answer is not JSON: {error}") from None
    for mismatch in _validator(schema_json).iter_errors(answer):
        where = "".join(f"[{part!r}]" for part in mismatch.instance_path) or "its root"
        raise InvalidAnswer(f"The answer does not fit the schema at {where}: {mismatch.message[:_MAX_MESSAGE]}")
    output = _encoder.encode(answer)
    try:
        output.encode()
    except UnicodeEncodeError:
        raise InvalidAnswer("The answer contains half a surrogate pair, which is no text.") from None
    return output


@lru_cache(maxsize=256)
def _validator(schema_json: str) -> jsonschema_rs.Draft202012Validator:
    schema = json.loads(schema_json)
    schema.pop("$schema", None)
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True)
