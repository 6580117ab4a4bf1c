"""The part of the client that tells what was used, and what wants a person."""

from collections.abc import Iterable
from datetime import date

from visionjobs.alerts import Alert
from visionjobs.calls import Calls
from visionjobs.mapping import alerts, usage
from visionjobs.usage import UsageRow


class UsageCalls:
    """Reads usage, which every client may, and alerts, which take an admin key."""

    _calls: Calls

    async def get_usage(self, from_day: date, to_day: date, *, group_by: Iterable[str] = ()) -> tuple[UsageRow, ...]:
        """Return what the caller's jobs used, a row for each group, sorted. It outlives the jobs.

        Args:
            from_day: From this day (UTC) on.
            to_day: Before this day, at most 366 days later.
            group_by: Any of "user", "model", "day" and "label:NAME", each once, at most 4. Default: one row of all.

        Raises:
            InvalidArgument: The days are in the wrong order or too far apart, or there is no such group.
            ResourceExhausted: There are too many rows; ask for fewer days, or group by less.
        """
        request = usage.usage_request(from_day, to_day, group_by)
        answer = await self._calls.unary(self._calls.jobs.GetUsage, request)
        return tuple(usage.row(row) for row in answer.rows)

    async def list_alerts(self, *, include_ended: bool = False) -> tuple[Alert, ...]:
        """Return what wants a person now, newest first; with `include_ended` what did lately, too."""
        answer = await self._calls.unary(self._calls.admin.ListAlerts, alerts.list_request(include_ended=include_ended))
        return tuple(alerts.alert(alert) for alert in answer.alerts)
