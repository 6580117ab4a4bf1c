"""The circuit breaker of a lane: stops paid calls while the provider fails, then asks it with a single one.

closed ──failures in a row──▶ open ──open_for──▶ half-open ──probe──▶ closed, or open again

A 429 says nothing about health, and neither does an attempt that ended without an answer of the provider. Only the
probe decides while the breaker is not closed: what was called before it opened tells of the past.
"""

import datetime
import enum
from dataclasses import dataclass, replace

FAILURES = 5
OPEN_FOR = datetime.timedelta(minutes=5)


class Health(enum.Enum):
    """What the end of an attempt says about the provider."""

    ANSWERED = enum.auto()
    """It answered, whatever it said of the job."""

    FAILED = enum.auto()
    """An error of its own, a timeout, or a broken connection."""

    UNKNOWN = enum.auto()
    """A 429, or no verdict: the attempt was lost, released or cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state of one lane's breaker.

    Attributes:
        failures: In a row, while it is closed.
        open_until: When a probe may be made; None means closed.
        probe: The job and attempt that ask for all, if one is under way.
    """

    failures: int = 0
    open_until: datetime.datetime | None = None
    probe: tuple[str, int] | None = None

    @property
    def is_closed(self) -> bool:
        return self.open_until is None

    def is_open(self, now: datetime.datetime) -> bool:
        """Say whether not even a probe may be made."""
        return self.open_until is not None and now < self.open_until


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and for how long."""

    failures: int = FAILURES
    open_for: datetime.timedelta = OPEN_FOR


def after_attempt(
    breaker: Breaker, attempt: tuple[str, int], health: Health, *, now: datetime.datetime, rules: BreakerRules
) -> Breaker:
    """Return the breaker after an attempt, (job id, attempt number), ended."""
    if breaker.is_closed:
        return _closed_after(breaker, health, now=now, rules=rules)
    if attempt != breaker.probe:
        return breaker
    match health:
        case Health.ANSWERED:
            return Breaker()
        case Health.FAILED:
            return replace(breaker, open_until=now + rules.open_for, probe=None)
        case Health.UNKNOWN:
            return replace(breaker, probe=None)


def _closed_after(breaker: Breaker, health: Health, *, now: datetime.datetime, rules: BreakerRules) -> Breaker:
    match health:
        case Health.ANSWERED:
            return replace(breaker, failures=0)
        case Health.FAILED if breaker.failures + 1 >= rules.failures:
            return Breaker(failures=breaker.failures + 1, open_until=now + rules.open_for)
        case Health.FAILED:
            return replace(breaker, failures=breaker.failures + 1)
        case Health.UNKNOWN:
            return breaker
