import datetime

import pytest

from scheduler.http import wording
from scheduler.jobs import JobState, Stage, Usage

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (-0.4, "now"),
        (-1, "1 second ago"),
        (-59, "59 seconds ago"),
        (-60, "1 minute ago"),
        (-7_199, "1 hour ago"),
        (-172_800, "2 days ago"),
        (3, "in 3 seconds"),
        (600, "in 10 minutes"),
    ],
)
def test_a_moment_has_its_distance(seconds: float, words: str) -> None:
    assert wording.distance(NOW + datetime.timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.085, "85 ms"), (4.2, "4.2 s"), (12, "12 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert wording.span(seconds) == words


def test_a_moment_is_said_in_utc() -> None:
    there = NOW.astimezone(datetime.timezone(datetime.timedelta(hours=5)))

    assert wording.utc(there) == "2026-11-24 12:00:00 UTC"


def test_a_tiny_cost_is_not_said_to_be_nothing() -> None:
    assert [wording.dollars(cost) for cost in (0, 0.00001, 1.23456)] == ["$0.0000", "<$0.0001", "$1.2346"]


def test_tokens_that_are_none_are_not_told() -> None:
    assert wording.tokens(Usage(input_tokens=1_200, output_tokens=3)) == "1,200 in, 3 out"


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_words(stage: Stage) -> None:
    assert wording.stage(stage)


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_words(state: JobState) -> None:
    assert wording.state(state)
