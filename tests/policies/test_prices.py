import datetime
from typing import Any

import pytest

from policies import prices


def cost(model: str, *, day: datetime.date = datetime.date(2026, 11, 1), **tokens: int) -> float:
    counts: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "thinking_tokens": 0, "cached_tokens": 0} | tokens
    return prices.cost_usd(model, day=day, **counts)


def test_a_million_tokens_cost_their_listed_price() -> None:
    assert cost("gemini-3.8-flash", input_tokens=1_000_000) == pytest.approx(0.75)
    assert cost("gemini-3.8-flash", output_tokens=1_000_000) == pytest.approx(3.75)


def test_thinking_costs_as_much_as_output() -> None:
    assert cost("gemini-3.5-flash", thinking_tokens=1_000) == cost("gemini-3.5-flash", output_tokens=1_000)


def test_cached_tokens_cost_a_tenth() -> None:
    assert cost("gemini-3.8-flash", input_tokens=1_000, cached_tokens=1_000) == pytest.approx(0.75 * 1_000 / 1e7)


def test_a_price_holds_from_its_day_on() -> None:
    before = cost("gemini-3.8-flash", input_tokens=1_000, day=datetime.date(2026, 12, 31))
    after = cost("gemini-3.8-flash", input_tokens=1_000, day=datetime.date(2027, 1, 1))

    assert after == pytest.approx(2 * before)


def test_the_longest_listed_name_counts() -> None:
    assert cost("gemini-3.5-flash-lite-001", input_tokens=1_000_000) == pytest.approx(0.30)


def test_a_model_without_a_price_costs_nothing() -> None:
    assert cost("gemini-9-ultra", input_tokens=1_000_000) == 0
