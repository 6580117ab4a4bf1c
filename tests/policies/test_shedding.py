"""When new submissions are shed, and when they are taken again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.shedding import (
    BEGINS_FULL,
    BEGINS_LATE_SECONDS,
    ENDS_FULL,
    ENDS_LATE_SECONDS,
    Load,
    Measures,
    Reason,
    strain,
    why_shed,
)

BOUNDS = Load(waiting=4, size=1_000)

measures = st.builds(
    Measures,
    late_seconds=st.floats(min_value=0, max_value=2),
    outcomes_share=st.floats(min_value=0, max_value=1),
)
reasons = st.sampled_from([None, Reason.LATE, Reason.OUTCOMES])


@pytest.mark.parametrize(
    ("load", "strained", "reason"),
    [
        (Load(), None, None),
        (Load(waiting=3, size=999), None, None),
        (Load(waiting=4), None, Reason.SUBMISSIONS),
        (Load(waiting=1, size=1_000), None, Reason.BYTES),
        (Load(), Reason.LATE, Reason.LATE),
        (Load(waiting=9), Reason.OUTCOMES, Reason.OUTCOMES),
    ],
)
def test_a_submission_is_shed_when_a_bound_is_reached_or_something_strains(
    load: Load, strained: Reason | None, reason: Reason | None
) -> None:
    assert why_shed(load, BOUNDS, strained) is reason


def test_strain_begins_at_one_mark_and_ends_at_a_lower_one() -> None:
    lateness = [0.4, 0.6, 0.4, 0.3, 0.19, 0.4]
    reasons = []
    found: Reason | None = None
    for seconds in lateness:
        found = strain(Measures(late_seconds=seconds, outcomes_share=0), found)
        reasons.append(found)

    assert reasons == [None, Reason.LATE, Reason.LATE, Reason.LATE, None, None]


def test_outcomes_that_pile_up_strain_until_most_of_them_are_stored() -> None:
    reasons = []
    found: Reason | None = None
    for share in (0.49, 0.5, 0.3, 0.24, 0.4):
        found = strain(Measures(late_seconds=0, outcomes_share=share), found)
        reasons.append(found)

    assert reasons == [None, Reason.OUTCOMES, Reason.OUTCOMES, None, None]


@given(measures, reasons)
def test_what_is_past_a_mark_always_strains_and_what_is_below_all_never_does(
    seen: Measures, before: Reason | None
) -> None:
    found = strain(seen, before)

    if seen.late_seconds >= BEGINS_LATE_SECONDS or seen.outcomes_share >= BEGINS_FULL:
        assert found is not None
    if seen.late_seconds < ENDS_LATE_SECONDS and seen.outcomes_share < ENDS_FULL:
        assert found is None
    # Looking twice at the same changes nothing.
    assert strain(seen, found) is found
