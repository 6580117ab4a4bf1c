"""The daily partitions of the history.

A UUIDv7 begins with its time in milliseconds, so the ids of one day are one range.
"""

import datetime
import uuid
from collections.abc import Sequence

import asyncpg

TABLES = ("jobs", "results", "attempts", "step_outputs")
"""Range-partitioned by job_id, one partition a day."""

DAYS_AHEAD = 14
_LOCK = 0x7669_736A_6F62_0002


async def make_ahead(connection: asyncpg.Connection) -> None:
    """Make the partitions from yesterday to 14 days ahead, in the database's days. Existing ones are left alone.

    Yesterday's too: right after midnight the clock that ids are made by may still be a moment behind.
    """
    today: datetime.date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    days = [today + datetime.timedelta(days=offset) for offset in range(-1, DAYS_AHEAD + 1)]
    if not await _missing(connection, days):
        return
    async with connection.transaction():
        # Every scheduler comes here at midnight.
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        for table, day in await _missing(connection, days):
            await connection.execute(
                f"CREATE TABLE {_name(table, day)} PARTITION OF {table}"
                f" FOR VALUES FROM ('{_first_id(day)}') TO ('{_first_id(day + datetime.timedelta(days=1))}')"
            )


async def _missing(connection: asyncpg.Connection, days: Sequence[datetime.date]) -> list[tuple[str, datetime.date]]:
    rows = await connection.fetch(
        "SELECT p.relname AS table, c.relname AS partition"
        " FROM pg_class p LEFT JOIN pg_inherits i ON i.inhparent = p.oid LEFT JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE p.oid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest($1::text[]) AS name))",
        list(TABLES),
    )
    # An older revision has fewer tables.
    tables = sorted({row["table"] for row in rows})
    present = {row["partition"] for row in rows}
    return [(table, day) for day in days for table in tables if _name(table, day) not in present]


def _name(table: str, day: datetime.date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _first_id(day: datetime.date) -> uuid.UUID:
    """Return the smallest id of the day, version and variant bits not set: it only bounds a range."""
    start = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
    return uuid.UUID(int=int(start.timestamp() * 1000) << 80)
