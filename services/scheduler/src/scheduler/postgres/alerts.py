"""Keeps what wants a person. See ports.AlertStore."""

from collections.abc import Sequence

import asyncpg

from scheduler.postgres.database import Queries
from scheduler.records import Alert

DROP_OLD = """
DELETE FROM alerts WHERE alert_id = ANY (ARRAY(
    SELECT alert_id FROM alerts WHERE end_time < now() - interval '90 days' LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

_RENEW = "UPDATE alerts SET severity = $3, message = $4 WHERE name = $1 AND subject = $2 AND end_time IS NULL"

# What comes and goes every minute is one alert.
_GO_ON = """
UPDATE alerts SET severity = $3, message = $4, end_time = NULL
WHERE alert_id = (
    SELECT max(alert_id) FROM alerts WHERE name = $1 AND subject = $2 AND end_time > now() - interval '10 minutes')
"""

_BEGIN = "INSERT INTO alerts (name, subject, severity, message, start_time) VALUES ($1, $2, $3, $4, $5)"

_END = "UPDATE alerts SET end_time = now() WHERE name = $1 AND subject = $2 AND end_time IS NULL"

_NEWEST = """
SELECT * FROM alerts WHERE $1 OR end_time IS NULL ORDER BY start_time DESC, alert_id DESC LIMIT $2
"""


class Alerts(Queries):
    """Implements AlertStore."""

    async def raise_alert(self, alert: Alert) -> bool:
        values = (alert.name, alert.subject, alert.severity, alert.message)
        async with self._database.reserved() as connection, connection.transaction():
            # Two schedulers may raise it at once.
            await connection.execute("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE")
            if await connection.execute(_RENEW, *values) != "UPDATE 0":
                return False
            if await connection.execute(_GO_ON, *values) == "UPDATE 0":
                await connection.execute(_BEGIN, *values, alert.start_time)
        return True

    async def end_alert(self, name: str, subject: str) -> bool:
        async with self._database.reserved() as connection:
            status: str = await connection.execute(_END, name, subject)
        return status != "UPDATE 0"

    async def alerts(self, *, include_ended: bool, limit: int) -> Sequence[Alert]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_NEWEST, include_ended, limit)
        return [_alert(row) for row in rows]


def _alert(row: asyncpg.Record) -> Alert:
    return Alert(
        name=row["name"],
        subject=row["subject"],
        severity=row["severity"],
        message=row["message"],
        start_time=row["start_time"],
        end_time=row["end_time"],
    )
