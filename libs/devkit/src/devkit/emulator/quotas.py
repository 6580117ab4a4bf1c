"""Gemini's limits: for each model true windows of 60 s that slide, and days that end in California; for all the money.

Only admitted calls count. Times are arguments, so that windows can be judged without waiting for them. What DeepSeek
limits is how many calls of a model are in flight.
"""

import contextlib
import datetime
import zoneinfo
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from devkit.emulator import quota_errors
from devkit.emulator.quota_errors import ExceededQuota

WINDOW = datetime.timedelta(seconds=60)
SPEND_WINDOW = datetime.timedelta(minutes=10)

# What the real server tells of a day's limit is the time of another one.
_RETRY_SECONDS_OF_A_DAY = 18.0
_METRIC = "generativelanguage.googleapis.com/"
_QUOTA_ZONE = "America/Los_Angeles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is admitted; None is no limit.

    Attributes:
        requests_per_minute: Of one model of Gemini's.
        input_tokens_per_minute: Of one model of Gemini's.
        requests_per_day: Of one model of Gemini's.
        spend_usd_per_10_minutes: Of all models of Gemini's together.
        deepseek_concurrent_requests: Of one model of DeepSeek's.
    """

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    spend_usd_per_10_minutes: float | None = None
    deepseek_concurrent_requests: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            limit = getattr(self, name)
            if limit is None:
                continue
            if name == "spend_usd_per_10_minutes":
                if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < float("inf"):
                    raise ValueError(f"{name} must be a number over 0")
            elif isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise ValueError(f"{name} must be a whole number of at least 1")


class TooManyInFlight(Exception):
    """As many calls of a model are in flight as may be."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    time: datetime.datetime
    tokens: int


class Quotas:
    """Admits calls, or refuses them as the real server does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._admitted: defaultdict[str, deque[_Admitted]] = defaultdict(deque)
        self._days: defaultdict[tuple[str, datetime.date], int] = defaultdict(int)
        self._spent: deque[tuple[datetime.datetime, float]] = deque()
        self._in_flight: Counter[str] = Counter()

    def admit(self, model: str, input_tokens: int, now: datetime.datetime) -> None:
        """Count a call that keeps every limit.

        Raises:
            ApiError: A limit is exceeded; the call is not counted.
        """
        recent = self._admitted[model]
        while recent and recent[0].time <= now - WINDOW:
            recent.popleft()
        exceeded = [*self._minute_requests(recent, now), *self._minute_tokens(recent, input_tokens, now)]
        exceeded += self._day_requests(model, now)
        if exceeded:
            raise quota_errors.quota_exceeded(model, exceeded)
        if self._is_overspent(now):
            raise quota_errors.resource_exhausted()
        recent.append(_Admitted(now, input_tokens))
        if self.limits.requests_per_day is not None:
            self._days[model, _day(now)] += 1

    def spend(self, usd: float, now: datetime.datetime) -> None:
        """Count the money of a call that was billed."""
        self._forget_spent(now)
        self._spent.append((now, usd))

    @contextlib.contextmanager
    def in_flight(self, model: str) -> Iterator[None]:
        """Count a call as in flight while the block runs.

        Raises:
            TooManyInFlight: It would be one too many.
        """
        most = self.limits.deepseek_concurrent_requests
        if most is not None and self._in_flight[model] >= most:
            raise TooManyInFlight
        self._in_flight[model] += 1
        try:
            yield
        finally:
            self._in_flight[model] -= 1

    def _is_overspent(self, now: datetime.datetime) -> bool:
        limit = self.limits.spend_usd_per_10_minutes
        if limit is None:
            return False
        self._forget_spent(now)
        return sum(usd for _, usd in self._spent) >= limit

    def _forget_spent(self, now: datetime.datetime) -> None:
        while self._spent and self._spent[0][0] <= now - SPEND_WINDOW:
            self._spent.popleft()

    def _minute_requests(self, recent: deque[_Admitted], now: datetime.datetime) -> list[ExceededQuota]:
        limit = self.limits.requests_per_minute
        if limit is None or len(recent) < limit:
            return []
        leaving = recent[len(recent) - limit]
        return [
            ExceededQuota(
                metric=f"{_METRIC}generate_requests_per_model",
                quota_id="GenerateRequestsPerMinutePerProjectPerModel",
                limit=limit,
                retry_seconds=_seconds_until_left(leaving, now),
            )
        ]

    def _minute_tokens(self, recent: deque[_Admitted], tokens: int, now: datetime.datetime) -> list[ExceededQuota]:
        limit = self.limits.input_tokens_per_minute
        if limit is None:
            return []
        used = sum(call.tokens for call in recent)
        if used + tokens <= limit:
            return []
        # A call that alone is over the limit never fits; it is told the window all the same.
        seconds = WINDOW.total_seconds()
        for leaving in recent:
            used -= leaving.tokens
            if used + tokens <= limit:
                seconds = _seconds_until_left(leaving, now)
                break
        return [
            ExceededQuota(
                metric=f"{_METRIC}generate_content_paid_tier_input_token_count",
                quota_id="GenerateContentPaidTierInputTokensPerModelPerMinute",
                limit=limit,
                retry_seconds=seconds,
            )
        ]

    def _day_requests(self, model: str, now: datetime.datetime) -> list[ExceededQuota]:
        limit = self.limits.requests_per_day
        if limit is None or self._days[model, _day(now)] < limit:
            return []
        return [
            ExceededQuota(
                metric=f"{_METRIC}generate_requests_per_model_per_day",
                quota_id="GenerateRequestsPerDayPerProjectPerModel",
                limit=limit,
                retry_seconds=_RETRY_SECONDS_OF_A_DAY,
            )
        ]


def _seconds_until_left(call: _Admitted, now: datetime.datetime) -> float:
    return (call.time + WINDOW - now).total_seconds()


def _day(now: datetime.datetime) -> datetime.date:
    return now.astimezone(zoneinfo.ZoneInfo(_QUOTA_ZONE)).date()
