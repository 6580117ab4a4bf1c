"""What an attempt at a step of a job asks for: the step's own texts, with the options of this attempt. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from policies import ladder
from scheduler.jobs import Generation, JobSpec

STANDARD = "STANDARD"
_LOWEST_RANK = 3


def spec_of_attempt(
    spec: JobSpec,
    *,
    step: int,
    rank: int,
    flaws: Sequence[str],
    retry_count: int = 0,
    low_priority_tier: str = STANDARD,
) -> JobSpec:
    """Return the job as an executor sees it in one attempt at one of its steps.

    Args:
        spec: The whole job.
        step: Which step.
        rank: The job's rank at this moment.
        flaws: Of its answers so far in this step, oldest first.
        retry_count: Charged failures in this step so far.
        low_priority_tier: The service tier of jobs of the lowest rank that ask for none.
    """
    post = spec.post_process
    if step == 1 or post is None:
        tier = spec.generation.service_tier or _usual_tier(spec, rank, retry_count, low_priority_tier)
        asked = replace(spec.generation, service_tier="" if tier == STANDARD else tier)
        return replace(spec, generation=_adjusted(asked, flaws))
    return replace(
        spec,
        images=(),
        prompt=post.prompt,
        system_instruction="",
        schema_json=post.schema_json,
        schema_is_struct=post.schema_is_struct,
        model=post.model,
        # How much a model thinks is no option of this step.
        generation=replace(_adjusted(Generation(), flaws), thinking_level=""),
        post_process=None,
    )


def _usual_tier(spec: JobSpec, rank: int, retry_count: int, low_priority_tier: str) -> str:
    # A tier that is served last may have no room for hours: a job must not fail for having been cheap.
    is_last_retry = 0 < spec.max_retries <= retry_count
    return STANDARD if rank != _LOWEST_RANK or is_last_retry else low_priority_tier


def _adjusted(generation: Generation, flaws: Sequence[str]) -> Generation:
    """Return the options after what the ladder changes."""
    if not flaws:
        return generation
    options = ladder.adjusted(
        ladder.Options(
            temperature=generation.temperature,
            max_output_tokens=generation.max_output_tokens,
            thinking_level=generation.thinking_level,
        ),
        flaws,
    )
    return replace(
        generation,
        temperature=options.temperature,
        max_output_tokens=options.max_output_tokens,
        thinking_level=options.thinking_level,
    )
