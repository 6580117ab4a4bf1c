"""What was used, as the store in memory counts it: the rows of `usage_daily`."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.jobs import Usage

UsageKey = tuple[datetime.date, str, str, str, tuple[tuple[str, str], ...]]
"""Day, client, user, model, and the labels, sorted."""


@dataclass
class UsageCounts:
    """What one row counts."""

    jobs: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    wasted_usd: float = 0.0
    unanswered_calls: int = 0


class MemoryUsage:
    """All counts, by their key."""

    def __init__(self) -> None:
        self.rows: dict[UsageKey, UsageCounts] = {}

    def add(
        self,
        day: datetime.date,
        client_id: str,
        user_id: str,
        model: str,
        labels: Mapping[str, str],
        *,
        jobs: int = 0,
        usage: Usage | None = None,
        cost_usd: float = 0.0,
        wasted_usd: float = 0.0,
        unanswered_calls: int = 0,
    ) -> None:
        """Count something that was used; a day is one in UTC."""
        key = (day, client_id, user_id, model, tuple(sorted(labels.items())))
        counts = self.rows.setdefault(key, UsageCounts())
        counts.jobs += jobs
        counts.usage += usage or Usage()
        counts.cost_usd += cost_usd
        counts.wasted_usd += wasted_usd
        counts.unanswered_calls += unanswered_calls
