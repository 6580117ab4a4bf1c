"""A lane: everything that shares one quota and one circuit breaker, and whether it takes calls now. Pure."""

import datetime
import enum
from dataclasses import dataclass, field, replace

from policies import backoff, quota
from policies.breaker import Breaker, BreakerRules, Health, after_attempt
from policies.quota import Limits, Pace
from scheduler.records import AttemptId

CLAIM_AHEAD = datetime.timedelta(seconds=3)
"""A lane claims what its pace will admit within this time: long enough to fetch images, short enough to hold no slot."""

CLAIM_WITHOUT_PACE = 32
"""How many attempts may wait for a permit in a lane whose pace does not tell how many it will admit."""


class Closure(enum.Enum):
    """Why a lane takes no calls."""

    PAUSED = enum.auto()
    STOPPED = enum.auto()
    BREAKER = enum.auto()
    QUOTA = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One lane.

    Attributes:
        name: provider/model.
        paused: An operator paused it.
        stopped_reason: Why nobody may call it until a person has acted; "" if that is not so.
        limits: What the operator allows.
        pace: What was used of it.
        closed_until: The provider's own time, after a 429.
        throttles: 429s in a row that named no time.
        breaker: The circuit breaker.
    """

    name: str
    paused: bool = False
    stopped_reason: str = ""
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    closed_until: datetime.datetime | None = None
    throttles: int = 0
    breaker: Breaker = field(default_factory=Breaker)

    def closure(self, now: datetime.datetime) -> tuple[Closure, datetime.datetime | None] | None:
        """Return why no call may begin now, and until when if that is known; None if calls may begin.

        A breaker that waits for its probe, or for the probe's end, closes the lane for all others.
        """
        if self.paused:
            return Closure.PAUSED, None
        if self.stopped_reason:
            return Closure.STOPPED, None
        if not self.breaker.is_closed:
            # Not even the probe may call before the provider's own time.
            until = max(time for time in (self.breaker.open_until, self.closed_until) if time is not None)
            return Closure.BREAKER, until if now < until else None
        if self.closed_until is not None and now < self.closed_until:
            return Closure.QUOTA, self.closed_until
        return None

    def waits_for_pace(self, now: datetime.datetime) -> datetime.datetime | None:
        """Return when the next permit is due, if that is later."""
        due = self.pace.next_permit_time if self.limits.need_permits else None
        return due if due is not None and due > now else None

    def claim_time(self, *, probe_runs: bool) -> datetime.datetime | None:
        """Return since or from when jobs may be claimed; None if that takes an event. The first of all times means now.

        Args:
            probe_runs: Whether the breaker's probe is a running attempt.
        """
        if self.paused or self.stopped_reason or (self.breaker.probe is not None and probe_runs):
            return None
        times = [datetime.datetime.min.replace(tzinfo=datetime.UTC)]
        if self.closed_until is not None:
            times.append(self.closed_until)
        if self.breaker.open_until is not None:
            times.append(self.breaker.open_until)
        if self.limits.need_permits and self.pace.next_permit_time is not None:
            times.append(self.pace.next_permit_time - CLAIM_AHEAD)
        return max(times)

    def claimable(self, *, in_flight: int, unpermitted: int, now: datetime.datetime) -> int | None:
        """Return how many jobs may be claimed of a lane whose claim time has come; None means any number.

        Args:
            in_flight: Attempts that run in the lane.
            unpermitted: Those of them whose call has not begun.
            now: The store's time.
        """
        bounds = []
        if not self.breaker.is_closed:
            bounds.append(1)
        if self.limits.max_in_flight is not None:
            bounds.append(self.limits.max_in_flight - in_flight)
        if self.limits.need_permits:
            bounds.append(self._admitted_soon(now) - unpermitted)
        return max(0, min(bounds)) if bounds else None

    def _admitted_soon(self, now: datetime.datetime) -> int:
        between = quota.interval(self.limits)
        if between is None:
            return CLAIM_WITHOUT_PACE
        first = max(now, self.pace.next_permit_time or now)
        return (now + CLAIM_AHEAD - first) // between + 1


def after_health(
    lane: Lane, attempt: AttemptId, health: Health, *, now: datetime.datetime, rules: BreakerRules
) -> Lane:
    """Return the lane after an attempt that told something about its provider."""
    breaker = after_attempt(lane.breaker, (attempt.job_id, attempt.attempt), health, now=now, rules=rules)
    return replace(lane, breaker=breaker, throttles=0 if health is Health.ANSWERED else lane.throttles)


def after_throttling(
    lane: Lane,
    *,
    provider_time: datetime.timedelta | None,
    stop: str,
    now: datetime.datetime,
    draw: float,
) -> Lane:
    """Return the lane after a 429: closed for exactly the provider's time, or by backing off where it named none.

    Args:
        lane: The lane.
        provider_time: How long the provider wants to be left alone.
        stop: Why nobody may call it until a person has acted; "" if it is only a matter of time.
        now: The store's time.
        draw: A random number in [0, 1).
    """
    if stop:
        return replace(lane, stopped_reason=stop)
    throttles = lane.throttles
    if provider_time is None:
        if throttles and lane.closed_until is not None and now < lane.closed_until:
            # Its call began before the lane was closed: it met the same limit, and is no further one in a row.
            throttles -= 1
        provider_time = datetime.timedelta(seconds=backoff.throttled_seconds(throttles, draw=draw))
        throttles += 1
    until = now + provider_time
    return replace(lane, closed_until=max(until, lane.closed_until or until), throttles=throttles)
