"""What a call costs. Prices are data, each with the day from which it holds.

Sources: Google's price page as of 2026-10, which announces that the introductory prices of the 3.6 to 3.8 flash models
double on 2027-01-01; LiteLLM's price map as of 2026-10 for DeepSeek, whose calls cost half of it outside of its busy
hours. Thinking is billed as output.
"""

import datetime
from dataclasses import dataclass

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, from a day on; what the provider had cached has a price of its own."""

    model: str
    since: datetime.date
    input_usd: float
    output_usd: float
    cached_usd: float


@dataclass(frozen=True, slots=True)
class Tier:
    """By what the prices of the models whose names begin so are multiplied in a service tier, from a day on."""

    models: str
    name: str
    since: datetime.date
    factor: float


PRICES = (
    Price("gemini-3.8-flash", datetime.date(2026, 9, 2), 0.75, 3.75, 0.075),
    Price("gemini-3.8-flash", datetime.date(2027, 1, 1), 1.50, 7.50, 0.15),
    Price("gemini-3.7-flash", datetime.date(2026, 8, 13), 0.75, 3.75, 0.075),
    Price("gemini-3.7-flash", datetime.date(2027, 1, 1), 1.50, 7.50, 0.15),
    Price("gemini-3.6-flash", datetime.date(2026, 7, 21), 0.75, 3.75, 0.075),
    Price("gemini-3.6-flash", datetime.date(2027, 1, 1), 1.50, 7.50, 0.15),
    Price("gemini-3.5-flash", datetime.date(2026, 5, 19), 1.50, 9.00, 0.15),
    Price("gemini-3.5-flash-lite", datetime.date(2026, 7, 21), 0.30, 2.50, 0.03),
    Price("gemini-3.1-flash-lite", datetime.date(2026, 5, 7), 0.25, 1.50, 0.025),
    Price("deepseek-v4-flash", datetime.date(2026, 7, 1), 0.30, 1.20, 0.006),
    Price("deepseek-v4-pro", datetime.date(2026, 7, 1), 1.32, 3.96, 0.044),
)

TIERS = (
    Tier("gemini-", "FLEX", datetime.date(2026, 5, 7), 0.5),
    Tier("gemini-", "BATCH", datetime.date(2026, 5, 7), 0.5),
    Tier("gemini-", "PRIORITY", datetime.date(2026, 5, 7), 1.75),
)


def cost_usd(
    model_version: str,
    *,
    input_tokens: int,
    output_tokens: int,
    thinking_tokens: int,
    cached_tokens: int,
    day: datetime.date,
    asked: str = "",
    service_tier: str = "",
    prices: tuple[Price, ...] = PRICES,
    tiers: tuple[Tier, ...] = TIERS,
) -> float:
    """Return what the tokens cost at the model that answered; 0 where that and the model asked for have no price.

    A provider adds suffixes to the name of a model, so the longest listed name that begins model_version counts.

    Args:
        model_version: The model that answered, in the provider's words.
        input_tokens: Cached ones included.
        output_tokens: Thinking not included.
        thinking_tokens: Priced as output.
        cached_tokens: Those of the input that the provider had cached.
        day: When.
        asked: The model that was asked for, whose price is taken where the one that answered has none.
        service_tier: In any case; "" and unknown ones cost the listed price.
        prices: The list.
        tiers: The list.
    """
    price = _price_of(model_version, day, prices) or _price_of(asked, day, prices)
    if price is None:
        return 0.0
    cached = min(cached_tokens, input_tokens)
    dollars = (input_tokens - cached) * price.input_usd + cached * price.cached_usd
    dollars += (output_tokens + thinking_tokens) * price.output_usd
    return dollars * _factor(price.model, service_tier, day, tiers) / _MILLION


def _price_of(model: str, day: datetime.date, prices: tuple[Price, ...]) -> Price | None:
    named = [price for price in prices if model.startswith(price.model)]
    length = max((len(price.model) for price in named), default=0)
    candidates = [price for price in named if len(price.model) == length]
    # Before the first day of a list, its first price is the best guess: no call was free.
    first = min(candidates, key=lambda price: price.since, default=None)
    return max((price for price in candidates if price.since <= day), key=lambda price: price.since, default=first)


def _factor(model: str, service_tier: str, day: datetime.date, tiers: tuple[Tier, ...]) -> float:
    name = service_tier.upper()
    known = [tier for tier in tiers if tier.name == name and model.startswith(tier.models)]
    first = min(known, key=lambda tier: tier.since, default=None)
    tier = max((tier for tier in known if tier.since <= day), key=lambda tier: tier.since, default=first)
    return 1.0 if tier is None else tier.factor
