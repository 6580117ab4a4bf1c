"""The nouns of operation as plain values: a lane is everything that shares one quota and one circuit breaker."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether calls are made: CLOSED, all; OPEN, none for a while; PROBING, one, to see whether the provider is back.

    UNKNOWN is a state that a newer scheduler has and this client has not.
    """

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    PROBING = "PROBING"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One provider and model with its limits, its circuit breaker and its jobs. A limit of 0 is none.

    Attributes:
        lane: Its name: provider/model.
        paused: Whether an operator paused it.
        stopped_reason: Why it is stopped, by depleted billing or a retired model. Empty if it is not.
        closed_until_time: When the provider takes calls again.
        breaker_failures: Failures in a row.
        breaker_open_until_time: When a probe is made.
        queued_jobs: Jobs that wait.
        running_jobs: Jobs with an executor.
    """

    lane: str
    paused: bool
    stopped_reason: str
    requests_per_minute: int
    input_tokens_per_minute: int
    requests_per_day: int
    max_in_flight: int
    dollars_per_10_minutes: float
    closed_until_time: datetime | None
    breaker_state: BreakerState
    breaker_failures: int
    breaker_open_until_time: datetime | None
    queued_jobs: int
    running_jobs: int
