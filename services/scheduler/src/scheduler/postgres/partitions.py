"""The daily partitions of the history.

A UUIDv7 begins with its time in milliseconds, so the ids of one day are one range.
"""

import datetime
import uuid

import asyncpg

from scheduler.postgres.tables import PARTITIONED

DAYS_AHEAD = 14


async def make_ahead(connection: asyncpg.Connection) -> None:
    """Make the partitions from yesterday to 14 days ahead, in the database's days. Existing ones are left alone.

    Yesterday's too: right after midnight the clock that ids are made by may still be a moment behind.
    """
    today: datetime.date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    present = {
        row["relname"]
        for row in await connection.fetch(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent::regclass::text = ANY ($1)",
            list(PARTITIONED),
        )
    }
    for offset in range(-1, DAYS_AHEAD + 1):
        day = today + datetime.timedelta(days=offset)
        for table in PARTITIONED:
            name = f"{table}_{day:%Y%m%d}"
            if name not in present:
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{_first_id(day)}') TO ('{_first_id(day + datetime.timedelta(days=1))}')"
                )


def _first_id(day: datetime.date) -> uuid.UUID:
    """Return the smallest id of the day, version and variant bits not set: it only bounds a range."""
    start = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
    return uuid.UUID(int=int(start.timestamp() * 1000) << 80)
