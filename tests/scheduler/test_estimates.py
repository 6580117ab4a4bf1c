import dataclasses
import datetime

import pytest
from stores import SPEC

from scheduler.estimates import ask_of
from scheduler.jobs import Generation

DAY = datetime.date(2026, 11, 24)
SECOND_STEP = dataclasses.replace(SPEC, images=(), model="deepseek-v4-flash", prompt="Sort it.")


def test_what_the_step_before_gave_is_read_too() -> None:
    alone = ask_of(SECOND_STEP, day=DAY)
    fed = ask_of(SECOND_STEP, day=DAY, input_json='{"items":[]}' * 1_000)

    assert fed.tokens > alone.tokens + 1_000
    assert fed.dollars > alone.dollars > 0


def test_a_second_step_costs_less_than_the_look_at_an_image() -> None:
    assert ask_of(SECOND_STEP, day=DAY).dollars < ask_of(SPEC, day=DAY).dollars


def test_the_flex_tier_is_expected_to_cost_half() -> None:
    flex = dataclasses.replace(SPEC, generation=Generation(service_tier="FLEX"))

    assert ask_of(flex, day=DAY).dollars == pytest.approx(ask_of(SPEC, day=DAY).dollars / 2)
    assert ask_of(flex, day=DAY).tokens == ask_of(SPEC, day=DAY).tokens
