"""What wants a person, as plain values."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that wants a person.

    Attributes:
        name: What it is, as MODEL_REROUTED.
        severity: WARNING or CRITICAL.
        active: Whether it holds now.
        message: What it is, for people.
        start_time: Since when.
        end_time: Until when, if it is over.
    """

    name: str
    severity: str
    active: bool
    message: str
    start_time: datetime | None
    end_time: datetime | None
