import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.redaction import redacted

GOOGLE = "AIza" + "x" * 35


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"API key {GOOGLE} not valid", "API key [redacted] not valid"),
        ("AQ." + "a" * 40, "[redacted]"),
        ("key=sk-" + "a" * 32 + ".", "key=[redacted]."),
        ("Authorization: Bearer abcdefgh12345678.x-y==", "Authorization: Bearer [redacted]"),
        ("vj_0123456789ab_" + "0" * 64, "vj_0123456789ab_[redacted]"),
        # Ordinary words.
        (
            "The task-force asked; a risk-free AQ. Bearer of news",
            "The task-force asked; a risk-free AQ. Bearer of news",
        ),
    ],
)
def test_keys_are_taken_out_and_ordinary_words_stay(text: str, clean: str) -> None:
    assert redacted(text) == clean


@given(before=st.text(), after=st.text(), secret=st.text("xyz", min_size=4))
def test_a_named_secret_never_stays(before: str, after: str, secret: str) -> None:
    assert secret not in redacted(f"{before}{secret}{after}", secret)


def test_an_empty_secret_changes_nothing() -> None:
    assert redacted("text", "") == "text"
