"""What a job's call is expected to use, from its spec."""

import datetime

from policies import estimate, prices
from policies.quota import Ask
from scheduler.jobs import JobSpec

UNKNOWN = Ask(tokens=4_096, dollars=0.01)
"""For an attempt whose spec is not at hand: it came with an executor from another scheduler."""


def ask_of(spec: JobSpec, *, day: datetime.date) -> Ask:
    """Return the input tokens and US dollars to reserve; they are settled by the real usage."""
    texts = (spec.prompt, spec.system_instruction, spec.schema_json)
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
    )
    return Ask(tokens, dollars)
