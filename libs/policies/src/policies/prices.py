"""What a call costs. Prices are data, each with the day from which it holds.

Source: Google's price page as of 2026-10, which announces that the introductory prices of the 3.6 to 3.8 flash models
double on 2027-01-01. Thinking is billed as output; tokens that the provider had cached cost a tenth.
"""

import datetime
from dataclasses import dataclass

_MILLION = 1_000_000
_CACHED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, from a day on."""

    model: str
    since: datetime.date
    input_usd: float
    output_usd: float


PRICES = (
    Price("gemini-3.8-flash", datetime.date(2026, 9, 2), 0.75, 3.75),
    Price("gemini-3.8-flash", datetime.date(2027, 1, 1), 1.50, 7.50),
    Price("gemini-3.7-flash", datetime.date(2026, 8, 13), 0.75, 3.75),
    Price("gemini-3.7-flash", datetime.date(2027, 1, 1), 1.50, 7.50),
    Price("gemini-3.6-flash", datetime.date(2026, 7, 21), 0.75, 3.75),
    Price("gemini-3.6-flash", datetime.date(2027, 1, 1), 1.50, 7.50),
    Price("gemini-3.5-flash", datetime.date(2026, 5, 19), 1.50, 9.00),
    Price("gemini-3.5-flash-lite", datetime.date(2026, 7, 21), 0.30, 2.50),
    Price("gemini-3.1-flash-lite", datetime.date(2026, 5, 7), 0.25, 1.50),
)


def cost_usd(
    model_version: str,
    *,
    input_tokens: int,
    output_tokens: int,
    thinking_tokens: int,
    cached_tokens: int,
    day: datetime.date,
    prices: tuple[Price, ...] = PRICES,
) -> float:
    """Return what the tokens cost at the model that answered; 0 for a model without a price.

    A provider adds suffixes to the name of a model, so the longest listed name that begins model_version counts.
    """
    candidates = [price for price in prices if model_version.startswith(price.model) and price.since <= day]
    if not candidates:
        return 0.0
    price = max(candidates, key=lambda candidate: (len(candidate.model), candidate.since))
    full = max(0, input_tokens - cached_tokens) + cached_tokens * _CACHED_SHARE
    return (full * price.input_usd + (output_tokens + thinking_tokens) * price.output_usd) / _MILLION
