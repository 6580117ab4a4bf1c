"""Tells a client what its jobs used. Usage outlives the jobs."""

import datetime
import re
from collections.abc import Sequence

from scheduler.errors import InvalidRequest, UsageTooLarge, Violation
from scheduler.ports import UsageStore
from scheduler.records import UsageQuery, UsageRow
from scheduler.validation import MAX_LABEL_NAME

MAX_DAYS = 366
MAX_GROUPS = 4
MAX_ROWS = 10_000

_NAMES = ("user", "model", "day")
_LABEL = re.compile(rf"label:[^\x00]{{1,{MAX_LABEL_NAME}}}", re.DOTALL)
_DAY = datetime.timedelta(days=1)


class GetUsage:
    """The use case."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    async def rows(
        self,
        client_id: str,
        *,
        from_time: datetime.datetime | None,
        to_time: datetime.datetime | None,
        group_by: Sequence[str],
    ) -> Sequence[UsageRow]:
        """Return a row for each group, sorted.

        Args:
            client_id: Whose usage.
            from_time: From the day of this time on.
            to_time: Up to this time; a time within a day takes the whole day in.
            group_by: user, model, day or label:NAME.

        Raises:
            InvalidRequest: A time is missing, the times are not in order or too far apart, or a group is unknown.
            UsageTooLarge: There are more groups than one answer holds.
            StoreUnavailable: The database is away.
        """
        violations = [*_check_times(from_time, to_time), *_check_groups(group_by)]
        if violations or from_time is None or to_time is None:
            raise InvalidRequest(violations)
        query = UsageQuery(from_day=_day(from_time), to_day=_day_after(to_time), group_by=tuple(group_by))
        rows = await self._store.usage(client_id, query, limit=MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise UsageTooLarge
        return rows


def _check_times(from_time: datetime.datetime | None, to_time: datetime.datetime | None) -> list[Violation]:
    missing = [Violation(name, "is required") for name, time in (("from", from_time), ("to", to_time)) if time is None]
    if missing or from_time is None or to_time is None:
        return missing
    if from_time >= to_time:
        return [Violation("to", "must be after from")]
    # Of the last day that a calendar has there is no day after.
    if _day(to_time) == datetime.date.max or _day_after(to_time) - _day(from_time) > MAX_DAYS * _DAY:
        return [Violation("to", f"must be at most {MAX_DAYS} days after from")]
    return []


def _check_groups(group_by: Sequence[str]) -> list[Violation]:
    if len(group_by) > MAX_GROUPS:
        return [Violation("group_by", f"must have at most {MAX_GROUPS} entries")]
    violations = []
    for index, group in enumerate(group_by):
        if group in group_by[:index]:
            violations.append(Violation(f"group_by[{index}]", "is there twice"))
        elif group not in _NAMES and not _LABEL.fullmatch(group):
            message = f"must be user, model, day or label:NAME, with a name of 1 to {MAX_LABEL_NAME} characters"
            violations.append(Violation(f"group_by[{index}]", message))
    return violations


def _day(time: datetime.datetime) -> datetime.date:
    return time.astimezone(datetime.UTC).date()


def _day_after(time: datetime.datetime) -> datetime.date:
    """Return the first day that does not begin before the time."""
    utc = time.astimezone(datetime.UTC)
    return utc.date() if utc.time() == datetime.time() else utc.date() + _DAY
