"""Which jobs a bulk call means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from visionjobs.jobs import JobState, refuse_naive


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs for which all conditions hold; what is left empty is no condition.

    Attributes:
        user_id: Only jobs of this user.
        states: Only jobs in one of these states.
        labels: Only jobs that carry all of these.
        lane: Only jobs of this lane.
        from_time: Only jobs created at or after this time.
        to_time: Only jobs created before this time.

    Raises:
        ValueError: There is no condition at all, or a time without time zone.
    """

    user_id: str = ""
    states: Sequence[JobState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    lane: str = ""
    from_time: datetime | None = None
    to_time: datetime | None = None

    def __post_init__(self) -> None:
        if not (self.user_id or self.states or self.labels or self.lane or self.from_time or self.to_time):
            raise ValueError("A JobFilter needs at least one condition.")
        refuse_naive(from_time=self.from_time, to_time=self.to_time)
