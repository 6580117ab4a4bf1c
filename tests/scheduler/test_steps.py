import dataclasses

import pytest
from stores import SPEC

from policies.ladder import Flaw
from scheduler.jobs import Generation, JobSpec, PostProcess
from scheduler.steps import spec_of_attempt

SECOND = PostProcess(
    model="deepseek-v4-flash", prompt="Sum it up.", schema_json='{"type":"array"}', schema_is_struct=True
)
TWO_STEPS = dataclasses.replace(SPEC, post_process=SECOND, system_instruction="Be brief.")


def asked(**changes: object) -> JobSpec:
    return dataclasses.replace(SPEC, generation=Generation(**changes))  # type: ignore[arg-type]


def tier(spec: JobSpec, rank: int, low_priority_tier: str) -> str:
    made = spec_of_attempt(spec, step=1, rank=rank, flaws=(), low_priority_tier=low_priority_tier)
    return made.generation.service_tier


def test_the_last_retry_of_a_cheap_job_goes_in_the_standard_tier() -> None:
    spec = dataclasses.replace(SPEC, max_retries=2)

    tiers = [
        spec_of_attempt(
            spec, step=1, rank=3, flaws=(), retry_count=retries, low_priority_tier="FLEX"
        ).generation.service_tier
        for retries in range(3)
    ]
    chosen = spec_of_attempt(
        dataclasses.replace(asked(service_tier="FLEX"), max_retries=2), step=1, rank=3, flaws=(), retry_count=2
    )

    assert tiers == ["FLEX", "FLEX", ""]
    assert chosen.generation.service_tier == "FLEX"


def test_a_job_without_retries_is_as_cheap_as_others() -> None:
    spec = dataclasses.replace(SPEC, max_retries=0)

    made = spec_of_attempt(spec, step=1, rank=3, flaws=(), low_priority_tier="FLEX")

    assert made.generation.service_tier == "FLEX"


def test_a_first_attempt_asks_as_its_client_did() -> None:
    spec = asked(temperature=0.2, max_output_tokens=100, thinking_level="HIGH", media_resolution="LOW")

    assert spec_of_attempt(spec, step=1, rank=2, flaws=()) == spec


@pytest.mark.parametrize(
    ("explicit", "rank", "low_priority_tier", "sent"),
    [
        ("", 3, "FLEX", "FLEX"),
        ("", 2, "FLEX", ""),
        ("", 1, "FLEX", ""),
        ("", 3, "STANDARD", ""),
        ("STANDARD", 3, "FLEX", ""),
        ("PRIORITY", 3, "FLEX", "PRIORITY"),
        ("FLEX", 1, "STANDARD", "FLEX"),
    ],
)
def test_the_tier_is_the_asked_one_or_that_of_the_rank_at_this_moment(
    explicit: str, rank: int, low_priority_tier: str, sent: str
) -> None:
    assert tier(asked(service_tier=explicit), rank, low_priority_tier) == sent


def test_an_attempt_after_a_flaw_asks_for_something_else() -> None:
    spec = asked(temperature=0.0, max_output_tokens=1_000)

    truncated = spec_of_attempt(spec, step=1, rank=2, flaws=(Flaw.TRUNCATED,)).generation
    looped = spec_of_attempt(spec, step=1, rank=2, flaws=(Flaw.LOOPING,)).generation

    assert (truncated.max_output_tokens, truncated.thinking_level, truncated.temperature) == (2_000, "LOW", 0.0)
    assert looped.temperature is not None
    assert looped.temperature > 0
    assert looped.max_output_tokens == 1_000


def test_the_second_step_has_its_own_texts_and_nothing_of_the_first() -> None:
    spec = spec_of_attempt(TWO_STEPS, step=2, rank=3, flaws=(), low_priority_tier="FLEX")

    assert (spec.model, spec.prompt, spec.schema_json) == ("deepseek-v4-flash", "Sum it up.", '{"type":"array"}')
    assert (spec.images, spec.system_instruction, spec.generation) == ((), "", Generation())
    assert spec.timeout == TWO_STEPS.timeout


def test_the_second_step_climbs_the_ladder_without_what_its_model_does_not_know() -> None:
    generation = spec_of_attempt(TWO_STEPS, step=2, rank=2, flaws=(Flaw.TRUNCATED, Flaw.NOT_JSON)).generation

    assert generation.thinking_level == ""
    assert generation.temperature is not None
