"""The provider's limits, for each model by itself: true windows of 60 s that slide, and days that end in California.

Only admitted calls count. Times are arguments, so that windows can be judged without waiting for them.
"""

import datetime
import zoneinfo
from collections import defaultdict, deque
from dataclasses import dataclass

from devkit.emulator import errors
from devkit.emulator.errors import ExceededQuota

WINDOW = datetime.timedelta(seconds=60)

# What the real server tells of a day's limit is the time of another one.
_RETRY_SECONDS_OF_A_DAY = 18.0
_METRIC = "generativelanguage.googleapis.com/"
_QUOTA_ZONE = "America/Los_Angeles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is admitted of one model; None is no limit."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            limit = getattr(self, name)
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise ValueError(f"{name} must be a whole number of at least 1")


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
            raise errors.quota_exceeded(model, exceeded)
        recent.append(_Admitted(now, input_tokens))
        if self.limits.requests_per_day is not None:
            self._days[model, _day(now)] += 1

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
        used = sum(call.tokens for call in recent)
        if limit is None or used + tokens <= limit:
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
