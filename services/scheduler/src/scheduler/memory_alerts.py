"""What wants a person, in the store in memory. See ports.AlertStore."""

import dataclasses
import datetime
from collections.abc import Sequence

from scheduler.ports import StoreClock
from scheduler.records import Alert

_GOES_ON_WITHIN = datetime.timedelta(minutes=10)


class MemoryAlerts:
    """The part of the store that keeps alerts, oldest first."""

    def __init__(self, *, clock: StoreClock) -> None:
        self._alert_time = clock
        self._alerts: list[Alert] = []

    async def raise_alert(self, alert: Alert) -> bool:
        for index, known in reversed(list(enumerate(self._alerts))):
            goes_on = known.end_time is None or known.end_time > self._alert_time.now() - _GOES_ON_WITHIN
            if (known.name, known.subject) == (alert.name, alert.subject) and goes_on:
                self._alerts[index] = dataclasses.replace(alert, start_time=known.start_time)
                return known.end_time is not None
        self._alerts.append(alert)
        return True

    async def end_alert(self, name: str, subject: str) -> bool:
        for index, known in enumerate(self._alerts):
            if (known.name, known.subject, known.end_time) == (name, subject, None):
                self._alerts[index] = dataclasses.replace(known, end_time=self._alert_time.now())
                return True
        return False

    async def alerts(self, *, include_ended: bool, limit: int) -> Sequence[Alert]:
        shown = [alert for alert in reversed(self._alerts) if include_ended or alert.end_time is None]
        return sorted(shown, key=lambda alert: alert.start_time, reverse=True)[:limit]
