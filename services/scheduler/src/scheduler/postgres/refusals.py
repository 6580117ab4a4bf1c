"""Remembers what the provider refuses again and again. See ports.RefusalStore."""

import datetime
from collections.abc import Sequence

import asyncpg

from scheduler.postgres.database import Queries
from scheduler.records import Refused, RefusedKind

MOST_HELD = 10_000

DROP_OLD = """
DELETE FROM refusals WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM refusals
    WHERE refuse_time < now() - interval '24 hours' AND (until_time IS NULL OR until_time < now())
    LIMIT $1 FOR UPDATE SKIP LOCKED))
"""

# What was forgotten is counted anew, even if nobody has dropped its row yet.
_NOTE = """
INSERT INTO refusals AS r (client_id, kind, key, lane, count, refuse_time, until_time, message)
VALUES ($1, $2, decode($3, 'hex'), $4, 1, now(), CASE WHEN $6::integer <= 1 THEN now() + $7::interval END, $5)
ON CONFLICT (client_id, kind, key, lane) DO UPDATE SET
    count = CASE WHEN r.refuse_time < now() - interval '24 hours' THEN 1 ELSE r.count + 1 END,
    refuse_time = excluded.refuse_time,
    until_time = CASE
        WHEN $6::integer <= CASE WHEN r.refuse_time < now() - interval '24 hours' THEN 1 ELSE r.count + 1 END
        THEN now() + $7::interval END,
    message = excluded.message
RETURNING *
"""

_FORGET = "DELETE FROM refusals WHERE client_id = $1 AND kind = $2 AND key = decode($3, 'hex') AND lane = $4"

# Those that stop something come first, should there ever be too many to know all.
_REMEMBERED = """
SELECT * FROM refusals
WHERE refuse_time >= now() - interval '24 hours' OR until_time >= now()
ORDER BY until_time IS NULL, kind, refuse_time DESC LIMIT $1
"""


class Refusals(Queries):
    """Implements RefusalStore."""

    async def note_refused(
        self,
        kind: RefusedKind,
        client_id: str,
        key: str,
        lane: str,
        message: str,
        *,
        limit: int,
        rest: datetime.timedelta,
    ) -> Refused:
        async with self._database.reserved() as connection:
            row = await connection.fetchrow(_NOTE, client_id, kind, key, lane, message, limit, rest)
        return _refused(row)

    async def note_accepted(self, kind: RefusedKind, client_id: str, key: str, lane: str) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(_FORGET, client_id, kind, key, lane)

    async def refused(self) -> Sequence[Refused]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_REMEMBERED, MOST_HELD)
        return [_refused(row) for row in rows]


def _refused(row: asyncpg.Record) -> Refused:
    return Refused(
        kind=RefusedKind(row["kind"]),
        client_id=row["client_id"],
        key=row["key"].hex(),
        lane=row["lane"],
        count=row["count"],
        until=row["until_time"],
        message=row["message"],
    )
