"""What a call costs at Gemini's list prices: enough to hold a spend limit against, and no invoice."""

from collections.abc import Mapping

from devkit.emulator.usage import Usage

# US dollars per million tokens of input and of output, thoughts among it, as of 2026-11.
_PRICES: Mapping[str, tuple[float, float]] = {
    "gemini-3.8-flash": (0.75, 3.75),
    "gemini-3.7-flash": (0.75, 3.75),
    "gemini-3.6-flash": (0.75, 3.75),
    "gemini-3.5-flash": (1.50, 9.00),
    "gemini-3.5-flash-lite": (0.30, 2.50),
    "gemini-3.1-flash-lite": (0.25, 1.50),
}
_OTHER_PRICE = (0.75, 3.75)
_TIER_FACTORS: Mapping[str, float] = {"flex": 0.5, "priority": 1.75}


def spent_usd(model: str, usage: Usage, service_tier: str) -> float:
    """Return the cost in US dollars; a model without a price costs what most do."""
    of_input, of_output = _PRICES.get(model, _OTHER_PRICE)
    full = usage.prompt * of_input + (usage.candidates + usage.thoughts) * of_output
    return full * _TIER_FACTORS.get(service_tier, 1.0) / 1_000_000
