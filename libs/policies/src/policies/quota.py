"""How many paid calls a lane may make: permits without bursts for requests, sliding windows for tokens and dollars.

Requests: one permit each `(60 s + validity + slack) ÷ limit` (GCRA with a burst of one), so that no 60 s window holds
more calls than the limit, wherever in its validity each call begins. Tokens and dollars: what was reserved in the last
window, counted in buckets of time, never exceeds the limit. A reservation is settled when the real usage is known;
one that never is ages out of its window. Days: none is permitted so near midnight that it could begin on either day.

Sources: GCRA as in ITU-T I.371, with the increment stretched by the time that a permit may be used late.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

VALIDITY = datetime.timedelta(seconds=0.5)
"""A call must begin within this time of the receipt of its permit."""

_SLACK = datetime.timedelta(seconds=0.3)
"""What a permit may be late on its way."""

_LATENESS = VALIDITY + _SLACK
"""How long after its permit is due a call may begin."""

_MINUTE = datetime.timedelta(seconds=60)
_TEN_MINUTES = datetime.timedelta(minutes=10)
_DAY_ZONE = ZoneInfo("America/Los_Angeles")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A lane's limits; None means no limit."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    max_in_flight: int | None = None
    dollars_per_10_minutes: float | None = None

    @property
    def need_permits(self) -> bool:
        """Say whether a call needs a permit; the number in flight is watched at dispatch."""
        return any(
            limit is not None
            for limit in (
                self.requests_per_minute,
                self.input_tokens_per_minute,
                self.requests_per_day,
                self.dollars_per_10_minutes,
            )
        )


@dataclass(frozen=True, slots=True)
class Window:
    """What was used lately, in buckets of time.

    Attributes:
        newest: The number of the last bucket: time since the epoch ÷ the bucket's length.
        used: What was used in each bucket, the newest last; what lies before is empty.
    """

    newest: int = 0
    used: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A sliding window of `length`, in buckets of `bucket`."""

    length: datetime.timedelta
    bucket: datetime.timedelta

    @property
    def buckets(self) -> int:
        # The oldest bucket leaves when all of it is out of every window that a call under way may begin in.
        return math.ceil((self.length + _LATENESS) / self.bucket) + 1

    def number(self, time: datetime.datetime) -> int:
        return math.floor(time.timestamp() / self.bucket.total_seconds())

    def total(self, window: Window, now: datetime.datetime) -> float:
        """Return what counts at this time."""
        keep = self.buckets - (self.number(now) - window.newest)
        return sum(window.used[max(0, len(window.used) - keep) :]) if keep > 0 else 0.0

    def add(self, window: Window, amount: float, time: datetime.datetime, *, now: datetime.datetime) -> Window:
        """Return the window with this amount, which may be negative, in the bucket of `time`."""
        newest = max(window.newest, self.number(now), self.number(time))
        shift = newest - window.newest if window.used else 0
        used = [*window.used, *([0.0] * min(shift, self.buckets))][-self.buckets :]
        used = [0.0] * (self.buckets - len(used)) + used
        index = self.buckets - 1 - (newest - self.number(time))
        if index >= 0:
            # A settlement never frees more than was reserved.
            used[index] = max(0.0, used[index] + amount)
        first = next((place for place, value in enumerate(used) if value), len(used) - 1)
        return Window(newest, tuple(used[first:]))

    def fits_at(self, window: Window, amount: float, limit: float, now: datetime.datetime) -> datetime.datetime:
        """Return when this amount fits, `now` if it does already. An amount above the limit fits an empty window."""
        first = window.newest - len(window.used) + 1
        for place, value in enumerate(window.used):
            if self.total(window, now) + amount <= limit:
                break
            leaves = first + place + self.buckets
            if leaves > self.number(now) and value:
                now = datetime.datetime.fromtimestamp(leaves * self.bucket.total_seconds(), datetime.UTC)
        return now


TOKENS = WindowRule(_MINUTE, datetime.timedelta(seconds=0.5))
DOLLARS = WindowRule(_TEN_MINUTES, datetime.timedelta(seconds=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a lane has used of its limits.

    Attributes:
        next_permit_time: Before it, no permit is given.
        day: The provider's day that `day_count` counts.
        day_count: Permits of that day.
        tokens: Input tokens of the last minute.
        dollars: US dollars of the last ten minutes.
    """

    next_permit_time: datetime.datetime | None = None
    day: datetime.date | None = None
    day_count: int = 0
    tokens: Window = field(default_factory=Window)
    dollars: Window = field(default_factory=Window)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call is expected to use: input tokens, and US dollars."""

    tokens: int
    dollars: float


def grant(
    pace: Pace, limits: Limits, asks: Sequence[Ask], *, now: datetime.datetime, ahead: datetime.timedelta
) -> tuple[Pace, list[datetime.datetime]]:
    """Give permits to the first asks, in order: none is overtaken.

    Args:
        pace: What was used.
        limits: The lane's limits.
        asks: Who waits, the best first.
        now: The store's time.
        ahead: Permits that are due within this time are given now; at most VALIDITY.

    Returns:
        The pace after it, and for each ask that got one the time when its permit is due. Where not all did,
        `next_permit_time` is when the next one fits.
    """
    due_times: list[datetime.datetime] = []
    due = now
    for ask in asks:
        # Not before the one ahead of it, which may be due later than now.
        due = next_time(pace, limits, ask, now=due)
        if due > now + ahead:
            return replace(pace, next_permit_time=due), due_times
        pace = _use(pace, limits, ask, due, now=now)
        due_times.append(due)
    return pace, due_times


def next_time(pace: Pace, limits: Limits, ask: Ask, *, now: datetime.datetime) -> datetime.datetime:
    """Return when a call like this may be permitted, `now` if it may be already."""
    due = now
    if limits.requests_per_minute is not None and pace.next_permit_time is not None:
        due = max(due, pace.next_permit_time)
    if limits.input_tokens_per_minute is not None:
        due = TOKENS.fits_at(pace.tokens, ask.tokens, limits.input_tokens_per_minute, due)
    if limits.dollars_per_10_minutes is not None:
        due = DOLLARS.fits_at(pace.dollars, ask.dollars, limits.dollars_per_10_minutes, due)
    if limits.requests_per_day is not None:
        # Last: what fits a window fits it later too.
        due = _in_day(pace, limits.requests_per_day, due)
    return due


def settle(pace: Pace, asked: Ask, used: Ask, granted: datetime.datetime, *, now: datetime.datetime) -> Pace:
    """Return the pace with the real usage in the place of what was reserved at the time of the grant."""
    return replace(
        pace,
        tokens=TOKENS.add(pace.tokens, used.tokens - asked.tokens, granted, now=now),
        dollars=DOLLARS.add(pace.dollars, used.dollars - asked.dollars, granted, now=now),
    )


def reconsider(pace: Pace, limits: Limits, like: Ask, *, now: datetime.datetime) -> Pace:
    """Return the pace with a sooner `next_permit_time`, if a call like this fits sooner than was said.

    It may after a settlement, which frees what the call did not use, and after a change of the limits.
    """
    if pace.next_permit_time is None:
        return pace
    # The last permit, due at most VALIDITY from now, holds back the next one for an interval; longer do the windows.
    paced = now + VALIDITY + (interval(limits) or datetime.timedelta())
    due = next_time(replace(pace, next_permit_time=min(pace.next_permit_time, paced)), limits, like, now=now)
    return replace(pace, next_permit_time=min(pace.next_permit_time, due))


def interval(limits: Limits) -> datetime.timedelta | None:
    """Return the time between two permits; None if requests are not limited by the minute."""
    if limits.requests_per_minute is None:
        return None
    # Rounded up to a microsecond: rounded down, a busy minute would hold more calls than the limit.
    return -(-(_MINUTE + _LATENESS) // limits.requests_per_minute)


def provider_day(time: datetime.datetime) -> datetime.date:
    """Return the day that the provider counts: daily quotas end at midnight Pacific."""
    return time.astimezone(_DAY_ZONE).date()


def end_of_day(time: datetime.datetime) -> datetime.datetime:
    """Return the next midnight Pacific, in UTC."""
    return _begin_of(provider_day(time) + datetime.timedelta(days=1))


def _begin_of(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), _DAY_ZONE).astimezone(datetime.UTC)


def _in_day(pace: Pace, limit: int, due: datetime.datetime) -> datetime.datetime:
    """Return when a day has room for a call that is due then, and that surely begins in that day."""
    # A permit given ahead may have begun the new day already: then the old one, whose count is gone, is over.
    day = max(provider_day(due), pace.day or datetime.date.min)
    is_full = pace.day == day and pace.day_count >= limit
    if is_full or provider_day(due + _LATENESS) > day:
        day += datetime.timedelta(days=1)
    return max(due, _begin_of(day) + VALIDITY)


def _use(pace: Pace, limits: Limits, ask: Ask, due: datetime.datetime, *, now: datetime.datetime) -> Pace:
    day = provider_day(due)
    between = interval(limits)
    return Pace(
        next_permit_time=due + between if between is not None else None,
        day=day,
        day_count=pace.day_count + 1 if pace.day == day else 1,
        tokens=TOKENS.add(pace.tokens, ask.tokens, due, now=now),
        dollars=DOLLARS.add(pace.dollars, ask.dollars, due, now=now),
    )
