"""Whether the model that answered is the one that was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model_versions import is_rerouted

KNOWN = ("gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-3.8-flash")
NAMES = st.sampled_from(KNOWN)


@pytest.mark.parametrize(
    ("asked", "version", "rerouted"),
    [
        ("gemini-3.5-flash", "gemini-3.5-flash", False),
        ("gemini-3.5-flash", "gemini-3.5-flash-001", False),
        ("gemini-3.5-flash", "gemini-3.5-flash-lite", True),
        ("gemini-3.5-flash", "gemini-3.5-flash-lite-001", True),
        ("gemini-3.5-flash-lite", "gemini-3.5-flash", True),
        ("gemini-3.8-flash", "gemini-4.0-flash", True),
        ("gemini-9-tuned", "gemini-9-tuned-002", False),
        ("gemini-3.8-flash", "", False),
    ],
)
def test_the_longest_known_name_that_begins_the_version_is_the_one_that_answered(
    asked: str, version: str, *, rerouted: bool
) -> None:
    assert is_rerouted(asked, version, KNOWN) is rerouted


@given(NAMES, NAMES, st.text(alphabet="0123456789", max_size=4))
def test_a_number_behind_a_name_makes_no_other_model(asked: str, answered: str, number: str) -> None:
    version = f"{answered}-{number}" if number else answered

    assert is_rerouted(asked, version, KNOWN) is (asked != answered)
