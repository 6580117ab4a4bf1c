import datetime
from typing import Any

import pytest

from policies import prices


def cost(model: str, *, day: datetime.date = datetime.date(2026, 11, 1), **changes: Any) -> float:
    counts: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "thinking_tokens": 0, "cached_tokens": 0}
    return prices.cost_usd(model, day=day, **counts | changes)


def test_a_million_tokens_cost_their_listed_price() -> None:
    assert cost("gemini-3.8-flash", input_tokens=1_000_000) == pytest.approx(0.75)
    assert cost("gemini-3.8-flash", output_tokens=1_000_000) == pytest.approx(3.75)


def test_thinking_costs_as_much_as_output() -> None:
    assert cost("gemini-3.5-flash", thinking_tokens=1_000) == cost("gemini-3.5-flash", output_tokens=1_000)


@pytest.mark.parametrize(
    ("model", "per_million"), [("gemini-3.8-flash", 0.075), ("deepseek-v4-flash", 0.006), ("deepseek-v4-pro", 0.044)]
)
def test_cached_tokens_have_a_price_of_their_own(model: str, per_million: float) -> None:
    assert cost(model, input_tokens=1_000, cached_tokens=1_000) == pytest.approx(per_million / 1_000)


def test_more_cached_tokens_than_there_were_cost_no_more_than_all() -> None:
    assert cost("gemini-3.8-flash", input_tokens=10, cached_tokens=1_000) == pytest.approx(0.075 * 10 / 1e6)


def test_the_second_providers_models_cost_their_listed_price() -> None:
    assert cost("deepseek-v4-flash", input_tokens=1_000_000, output_tokens=1_000_000) == pytest.approx(1.50)
    assert cost("deepseek-v4-pro", input_tokens=1_000_000, output_tokens=1_000_000) == pytest.approx(5.28)


@pytest.mark.parametrize(("tier", "factor"), [("FLEX", 0.5), ("flex", 0.5), ("BATCH", 0.5), ("PRIORITY", 1.75)])
def test_a_service_tier_has_its_factor(tier: str, factor: float) -> None:
    listed = cost("gemini-3.8-flash", input_tokens=1_000, output_tokens=50)

    assert cost("gemini-3.8-flash", input_tokens=1_000, output_tokens=50, service_tier=tier) == pytest.approx(
        factor * listed
    )


@pytest.mark.parametrize(
    ("model", "tier"), [("gemini-3.8-flash", "STANDARD"), ("gemini-3.8-flash", "NEW"), ("deepseek-v4-pro", "FLEX")]
)
def test_a_tier_that_a_provider_does_not_have_costs_the_listed_price(model: str, tier: str) -> None:
    assert cost(model, input_tokens=1_000, service_tier=tier) == cost(model, input_tokens=1_000)


def test_a_tiers_factor_holds_from_its_day_on() -> None:
    tiers = (
        prices.Tier("gemini-", "FLEX", datetime.date(2026, 1, 1), 0.5),
        prices.Tier("gemini-", "FLEX", datetime.date(2026, 11, 1), 0.6),
    )

    costs = [
        cost("gemini-3.8-flash", day=day, input_tokens=1_000_000, service_tier="FLEX", tiers=tiers)
        for day in (datetime.date(2026, 10, 31), datetime.date(2026, 11, 1))
    ]

    assert costs == pytest.approx([0.375, 0.45])


def test_a_price_holds_from_its_day_on() -> None:
    before = cost("gemini-3.8-flash", input_tokens=1_000, day=datetime.date(2026, 12, 31))
    after = cost("gemini-3.8-flash", input_tokens=1_000, day=datetime.date(2027, 1, 1))

    assert after == pytest.approx(2 * before)


def test_the_longest_listed_name_counts() -> None:
    assert cost("gemini-3.5-flash-lite-001", input_tokens=1_000_000) == pytest.approx(0.30)


@pytest.mark.parametrize("version", ["", "gemini-9-ultra"])
def test_a_version_without_a_price_costs_what_the_model_asked_for_does(version: str) -> None:
    assert cost(version, asked="gemini-3.8-flash", input_tokens=1_000_000) == pytest.approx(0.75)


def test_a_model_that_answered_for_another_costs_its_own_price() -> None:
    assert cost("gemini-3.5-flash", asked="gemini-3.8-flash", input_tokens=1_000_000) == pytest.approx(1.50)


def test_before_its_first_day_a_listed_model_costs_its_first_price() -> None:
    long_ago = datetime.date(2020, 1, 1)

    assert cost("gemini-3.8-flash", day=long_ago, input_tokens=1_000_000) == pytest.approx(0.75)
    assert cost("gemini-3.8-flash", day=long_ago, input_tokens=1_000_000, service_tier="FLEX") == pytest.approx(0.375)


def test_a_model_without_a_price_costs_nothing() -> None:
    assert cost("gemini-9-ultra", input_tokens=1_000_000) == 0
