"""Sums up what was used, in the store in memory. See ports.UsageStore."""

from collections.abc import Sequence

from scheduler.memory_usage import MemoryUsage, UsageCounts, UsageKey
from scheduler.records import UsageQuery, UsageRow

_LABEL = "label:"


class MemoryUsageSums:
    """The part of the store that tells what was used."""

    def __init__(self, counted: MemoryUsage) -> None:
        self._counted = counted

    async def usage(self, client_id: str, query: UsageQuery, *, limit: int) -> Sequence[UsageRow]:
        sums: dict[tuple[str, ...], UsageCounts] = {} if query.group_by else {(): UsageCounts()}
        for key, counts in self._counted.rows.items():
            day, client, *_ = key
            if client == client_id and query.from_day <= day < query.to_day:
                group = tuple(_value(key, each) for each in query.group_by)
                _add(sums.setdefault(group, UsageCounts()), counts)
        return [_row(query.group_by, group, counts) for group, counts in sorted(sums.items(), key=_group)][:limit]

    def _remove_labels(self, client_id: str, user_id: str) -> None:
        """Merge a user's usage of each day and model into one row without labels."""
        rows = self._counted.rows
        for key in [key for key in rows if key[1:3] == (client_id, user_id) and key[-1]]:
            _add(rows.setdefault((*key[:4], ()), UsageCounts()), rows.pop(key))


def _value(key: UsageKey, group: str) -> str:
    day, _, user_id, model, labels = key
    if group.startswith(_LABEL):
        return dict(labels).get(group.removeprefix(_LABEL), "")
    return {"user": user_id, "model": model, "day": day.isoformat()}[group]


def _add(total: UsageCounts, counts: UsageCounts) -> None:
    total.jobs += counts.jobs
    total.usage += counts.usage
    total.cost_usd += counts.cost_usd
    total.wasted_usd += counts.wasted_usd
    total.unanswered_calls += counts.unanswered_calls


def _group(item: tuple[tuple[str, ...], UsageCounts]) -> tuple[str, ...]:
    return item[0]


def _row(names: Sequence[str], group: Sequence[str], counts: UsageCounts) -> UsageRow:
    return UsageRow(
        group=dict(zip(names, group, strict=True)),
        jobs=counts.jobs,
        usage=counts.usage,
        cost_usd=counts.cost_usd,
        wasted_usd=counts.wasted_usd,
        unanswered_calls=counts.unanswered_calls,
    )
