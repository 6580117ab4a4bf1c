"""What a call is expected to use, from what is asked in it."""

import datetime

from policies import estimate, prices
from policies.quota import Ask
from scheduler.jobs import JobSpec

UNKNOWN = Ask(tokens=4_096, dollars=0.01)
"""For an attempt whose spec is not at hand: it came with an executor from another scheduler."""


def ask_of(spec: JobSpec, *, day: datetime.date, input_json: str = "") -> Ask:
    """Return the input tokens and US dollars to reserve; they are settled by the real usage.

    Args:
        spec: What is asked in a step.
        day: When.
        input_json: What the step before gave.
    """
    texts = (spec.prompt, spec.system_instruction, spec.schema_json, input_json)
    tokens = estimate.input_tokens(
        text_bytes=sum(len(text.encode()) for text in texts),
        images=len(spec.images),
        media_resolution=spec.generation.media_resolution,
    )
    dollars = prices.cost_usd(
        spec.model,
        input_tokens=tokens,
        output_tokens=spec.generation.max_output_tokens or estimate.OUTPUT_TOKENS,
        thinking_tokens=0,
        cached_tokens=0,
        day=day,
        service_tier=spec.generation.service_tier,
    )
    return Ask(tokens, dollars)
