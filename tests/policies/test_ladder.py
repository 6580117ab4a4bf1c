import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ladder import (
    DEFAULT_TEMPERATURE,
    MAX_OUTPUT_TOKENS,
    MAX_TEMPERATURE,
    MOST_RETRIES,
    Flaw,
    Options,
    adjusted,
    may_try_again,
)

AS_ASKED = Options(temperature=None, max_output_tokens=None, thinking_level="")
LEVELS = ["MINIMAL", "LOW", "MEDIUM", "HIGH"]
OTHER_TEMPERATURE = [Flaw.LOOPING, Flaw.RECITATION, Flaw.NOT_JSON, Flaw.SCHEMA_MISMATCH]

flaw_lists = st.lists(st.sampled_from(Flaw) | st.text(max_size=10), max_size=40)
options = st.builds(
    Options,
    temperature=st.none() | st.floats(0, 2),
    max_output_tokens=st.none() | st.integers(1, 1_000_000),
    thinking_level=st.sampled_from(["", *LEVELS]) | st.text(max_size=10),
)


def asked(temperature: float | None = None, tokens: int | None = None, level: str = "") -> Options:
    return Options(temperature=temperature, max_output_tokens=tokens, thinking_level=level)


@pytest.mark.parametrize(
    ("flaw", "retries"),
    [
        ("TRUNCATED", 1),
        ("LOOPING", 2),
        ("EMPTY", 2),
        ("NO_TEXT", 3),
        ("NOT_JSON", 2),
        ("SCHEMA_MISMATCH", 2),
        ("RECITATION", 2),
        ("UNFINISHED", 2),
    ],
)
def test_each_flaw_is_followed_by_so_many_further_calls(flaw: str, retries: int) -> None:
    decisions = [may_try_again([flaw] * times) for times in range(1, retries + 2)]

    assert decisions == [True] * retries + [False]
    assert MOST_RETRIES[Flaw(flaw)] == retries


def test_only_the_newest_kind_of_flaw_is_counted() -> None:
    assert may_try_again(["TRUNCATED", "TRUNCATED", "EMPTY"])
    assert not may_try_again(["TRUNCATED", "EMPTY", "TRUNCATED"])


@pytest.mark.parametrize("flaws", [[], ["OF_A_LATER_VERSION"] * 50, ["EMPTY"] * 9 + ["?"]])
def test_nothing_and_what_is_unknown_is_no_bar(flaws: list[str]) -> None:
    assert may_try_again(flaws)


def test_a_truncated_answer_gets_twice_the_tokens_and_less_thinking() -> None:
    assert adjusted(asked(0.0, 2_048, "HIGH"), ["TRUNCATED"]) == asked(0.0, 4_096, "MEDIUM")
    assert adjusted(asked(0.0, 2_048, "MEDIUM"), ["TRUNCATED", "TRUNCATED"]) == asked(0.0, 8_192, "MINIMAL")


@pytest.mark.parametrize(("level", "lower"), [("", "LOW"), ("LOW", "MINIMAL"), ("MINIMAL", "MINIMAL"), ("MAX", "MAX")])
def test_thinking_never_goes_below_the_lowest_level(level: str, lower: str) -> None:
    assert adjusted(asked(level=level), ["TRUNCATED"]).thinking_level == lower


@pytest.mark.parametrize(("tokens", "more"), [(None, None), (40_000, 65_536), (65_536, 65_536), (100_000, 100_000)])
def test_no_more_tokens_are_asked_for_than_a_model_gives(tokens: int | None, more: int | None) -> None:
    assert adjusted(asked(tokens=tokens), ["TRUNCATED"]).max_output_tokens == more


def test_a_looping_answer_gets_a_higher_temperature_each_time() -> None:
    temperatures = [adjusted(asked(0.0), ["LOOPING"] * times).temperature for times in (1, 2, 3)]

    assert temperatures == [0.4, 0.8, 1.2]


@pytest.mark.parametrize("flaw", ["RECITATION", "NOT_JSON", "SCHEMA_MISMATCH"])
def test_a_recited_broken_or_mismatching_answer_gets_another_temperature(flaw: str) -> None:
    assert adjusted(asked(0.0, 100, "LOW"), [flaw]) == asked(0.2, 100, "LOW")
    assert adjusted(asked(), [flaw, flaw]) == asked(1.4)
    assert adjusted(asked(2.0), [flaw]) == asked(1.8)


@pytest.mark.parametrize("flaw", ["EMPTY", "NO_TEXT", "UNFINISHED", "OF_A_LATER_VERSION"])
def test_other_flaws_change_nothing(flaw: str) -> None:
    assert adjusted(asked(0.0, 100, "HIGH"), [flaw] * 3) == asked(0.0, 100, "HIGH")


@given(options=options, flaws=flaw_lists)
def test_what_is_asked_for_stays_within_what_a_model_takes(options: Options, flaws: list[str]) -> None:
    found = adjusted(options, flaws)

    assert found.temperature is None or 0 <= found.temperature <= MAX_TEMPERATURE
    if options.max_output_tokens is None:
        assert found.max_output_tokens is None
    else:
        assert found.max_output_tokens is not None
        assert options.max_output_tokens <= found.max_output_tokens
        assert found.max_output_tokens <= max(MAX_OUTPUT_TOKENS, options.max_output_tokens)
    if options.thinking_level in LEVELS:
        assert LEVELS.index(found.thinking_level) <= LEVELS.index(options.thinking_level)


@given(options=options, flaws=flaw_lists, flaw=st.sampled_from(OTHER_TEMPERATURE))
def test_the_temperature_is_another_one_and_never_zero(options: Options, flaws: list[str], flaw: Flaw) -> None:
    found = adjusted(options, [*flaws, flaw]).temperature
    before = DEFAULT_TEMPERATURE if options.temperature is None else options.temperature

    assert found is not None
    assert found > 0
    assert found != before


@given(options=options, flaws=flaw_lists)
def test_the_order_of_the_flaws_does_not_matter(options: Options, flaws: list[str]) -> None:
    assert adjusted(options, flaws) == adjusted(options, flaws[::-1])


@given(flaws=st.lists(st.sampled_from(Flaw), min_size=20, max_size=60))
def test_the_ladder_has_an_end_whatever_goes_wrong(flaws: list[Flaw]) -> None:
    calls = next(count for count in range(1, 61) if count == len(flaws) or not may_try_again(flaws[:count]))

    assert calls <= sum(MOST_RETRIES.values()) + 1
