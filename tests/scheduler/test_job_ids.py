import datetime
import uuid

from hypothesis import given
from hypothesis import strategies as st

from runtime.randomness import SystemRandomness
from scheduler.job_ids import JobIds, normalised

START = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@given(steps=st.lists(st.integers(-5, 5), min_size=2, max_size=50))
def test_ids_only_grow_even_when_the_clock_steps_back(steps: list[int]) -> None:
    ids = JobIds(randomness=SystemRandomness())
    now = START
    made = []
    for step in steps:
        now += datetime.timedelta(milliseconds=step)
        made.append(ids.next(now))

    assert made == sorted(set(made))


def test_more_ids_in_a_millisecond_than_the_counter_holds_still_grow() -> None:
    ids = JobIds(randomness=SystemRandomness())

    made = [ids.next(START) for _ in range(5_000)]

    assert made == sorted(set(made))


def test_an_id_is_a_version_7_uuid_that_begins_with_its_time() -> None:
    made = uuid.UUID(JobIds(randomness=SystemRandomness()).next(START))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == int(START.timestamp() * 1000)


def test_an_id_is_taken_in_any_spelling_and_junk_is_not() -> None:
    made = JobIds(randomness=SystemRandomness()).next(START)

    assert normalised(made.upper()) == made
    assert normalised("42") is None
    assert normalised("") is None
