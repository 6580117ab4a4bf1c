"""Whether to take a new submission in, or to shed it so that running work does not suffer.

What is measured (a late event loop, outcomes that pile up) moves to and fro, so the strain that it tells of begins at one
mark and ends at a lower one. What is counted is exact, and needs no such care.
"""

import enum
from dataclasses import dataclass

BEGINS_LATE_SECONDS, ENDS_LATE_SECONDS = 0.5, 0.2
BEGINS_FULL, ENDS_FULL = 0.5, 0.25


class Reason(enum.StrEnum):
    """Why a submission is shed, for people."""

    LATE = "its event loop is late"
    OUTCOMES = "outcomes wait to be stored"
    SUBMISSIONS = "it works on as many submissions as it can"
    BYTES = "the submissions that it works on take all the memory that they may"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was last measured.

    Attributes:
        late_seconds: How late the event loop runs what is due.
        outcomes_share: How full the buffer of outcomes is, from 0 to 1.
    """

    late_seconds: float
    outcomes_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How many submissions wait for a place to be worked on, and what has come so far of those that are."""

    waiting: int = 0
    size: int = 0


def strain(measures: Measures, before: Reason | None) -> Reason | None:
    """Return what strains the scheduler, if anything does, given what did before."""
    late = ENDS_LATE_SECONDS if before is Reason.LATE else BEGINS_LATE_SECONDS
    full = ENDS_FULL if before is Reason.OUTCOMES else BEGINS_FULL
    if measures.late_seconds >= late:
        return Reason.LATE
    return Reason.OUTCOMES if measures.outcomes_share >= full else None


def why_shed(load: Load, bounds: Load, strained: Reason | None) -> Reason | None:
    """Return why one more submission is shed, or None to let it in."""
    if strained is not None:
        return strained
    if load.waiting >= bounds.waiting:
        return Reason.SUBMISSIONS
    return Reason.BYTES if load.size >= bounds.size else None
