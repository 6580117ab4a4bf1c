"""Checks that take long are made in a process of their own: the executor goes on, and what never ends is ended."""

import json
import time

import pytest

from executor import validation_apart
from executor.validation import InvalidOutput, UnusableSchema
from policies.ladder import Flaw

SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
ENDLESS = json.dumps(
    {"type": "object", "additionalProperties": {"items": {"anyOf": [{"const": n} for n in range(3_500)]}}}
)


def test_an_ordinary_answer_is_checked_at_once() -> None:
    invoice = json.dumps({"lines": [{"item": f"line {n}", "price": n} for n in range(50)]})

    assert not validation_apart.takes_long("x" * 5_000, invoice)


def test_thousands_of_alternatives_against_thousands_of_values_take_long() -> None:
    assert validation_apart.takes_long(ENDLESS, json.dumps({"a": [3_499] * 20_000}))


def test_a_good_answer_comes_back_compact() -> None:
    assert validation_apart.validate(SCHEMA, '{ "a": 1 }') == '{"a":1}'


def test_a_bad_answer_is_told_with_its_flaw_and_its_path() -> None:
    with pytest.raises(InvalidOutput) as invalid:
        validation_apart.validate(SCHEMA, '{"a": "x"}')

    assert (invalid.value.flaw, invalid.value.path) == (Flaw.SCHEMA_MISMATCH, "a")


def test_what_is_no_json_is_told_as_such() -> None:
    with pytest.raises(InvalidOutput) as invalid:
        validation_apart.validate(SCHEMA, "{")

    assert invalid.value.flaw is Flaw.NOT_JSON


def test_a_check_without_end_is_ended() -> None:
    began = time.monotonic()

    with pytest.raises(UnusableSchema, match=r"within 0.5 s"):
        validation_apart.validate(ENDLESS, json.dumps({"a": [3_499] * 60_000}), seconds=0.5)

    # It would take a minute otherwise.
    assert time.monotonic() - began < 30
