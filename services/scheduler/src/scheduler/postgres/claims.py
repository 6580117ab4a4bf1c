"""Hands waiting jobs out. See ports.ClaimStore; the claim itself is the function claim_jobs of the migrations."""

import datetime
from collections.abc import Collection, Mapping, Sequence

from scheduler import spec_json
from scheduler.ports import AttemptId, ClaimedJob, Head, Slots
from scheduler.postgres.database import Queries

# One index descent a lane and rank; the LIMIT stops at the first rank that has a job.
_LANE_HEADS = """
SELECT l.lane, head.rank, head.seq
FROM lanes l CROSS JOIN LATERAL (
    SELECT r.rank, waiting.seq
    FROM generate_series(1, 3) AS r (rank) CROSS JOIN LATERAL (
        SELECT q.seq FROM queue q
        WHERE q.lane = l.lane AND q.rank = r.rank AND q.state = 2 AND q.leader IS NULL
          AND q.seq >= CASE WHEN $1 THEN 0 ELSE l.floors[r.rank] END
        ORDER BY q.seq LIMIT 1
    ) waiting
    ORDER BY r.rank LIMIT 1
) head
ORDER BY head.rank, head.seq
"""

_CLAIM = "SELECT * FROM claim_jobs($1, $2::text[], $3::bigint[], $4::int[], $5, $6)"

_PROMOTE_LIMIT = 1_000


class Claims(Queries):
    """Implements ClaimStore."""

    async def lane_heads(self, *, thorough: bool) -> Sequence[Head]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_LANE_HEADS, thorough)
        return [Head(row["lane"], row["rank"], row["seq"]) for row in rows]

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                _CLAIM,
                lane,
                [slot.executor_id for slot in slots],
                [slot.session for slot in slots],
                [slot.count for slot in slots],
                max_rank,
                thorough,
            )
        sessions = {slot.executor_id: slot.session for slot in slots}
        return [
            ClaimedJob(
                attempt_id=AttemptId(str(row[0]), row[1]),
                executor_id=row[2],
                session=sessions[row[2]],
                client_id=row[3],
                lane=lane,
                step=row[4],
                spec=spec_json.decode(row[5]),
                retry_count=row[6],
                traceparent=row[8],
                queued_time=row[9],
                start_time=row[10],
            )
            for row in rows
        ]

    async def promote_due(self) -> datetime.datetime | None:
        async with self._database.reserved() as connection:
            while await connection.fetchval("SELECT promote_due($1)", _PROMOTE_LIMIT) == _PROMOTE_LIMIT:
                pass
            due: datetime.datetime | None = await connection.fetchval(
                "SELECT due_time FROM queue WHERE state = 1 ORDER BY due_time LIMIT 1"
            )
        return due

    async def count_waiting(self, limit: int) -> int:
        async with self._database.reserved() as connection:
            count: int = await connection.fetchval(
                "SELECT count(*) FROM (SELECT 1 FROM queue WHERE state = 2 AND leader IS NULL LIMIT $1) waiting", limit
            )
        return count

    async def get_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, bytes]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT sha256, data FROM images WHERE client_id = $1 AND sha256 = ANY ($2)",
                client_id,
                [bytes.fromhex(sha256) for sha256 in sha256s],
            )
        return {row["sha256"].hex(): row["data"] for row in rows}
