"""Hands waiting jobs out. See ports.ClaimStore; the claim itself is the function claim_jobs of the migrations."""

import datetime
from collections.abc import Collection, Mapping, Sequence

from scheduler import spec_json
from scheduler.postgres.database import Queries
from scheduler.records import AttemptId, ClaimedJob, Head, Heads, Slots

# One index descent a lane and rank; the LIMIT stops at the first rank that has a job.
_LANE_HEADS = """
SELECT l.lane, head.rank, head.seq, lane_claim_time(l) AS claim_time, now() AS now,
    CASE WHEN lane_claim_time(l) <= now() THEN lane_claimable(l) END AS claimable
FROM lanes l CROSS JOIN LATERAL (
    SELECT r.rank, waiting.seq
    FROM generate_series(1, 3) AS r (rank) CROSS JOIN LATERAL (
        SELECT q.seq FROM queue q
        WHERE q.lane = l.lane AND q.rank = r.rank AND q.state = 2 AND q.leader IS NULL
          AND q.seq >= CASE WHEN $1 THEN 0 ELSE l.floors[r.rank] END
          AND (q.expire_time IS NULL OR q.expire_time > now())
        ORDER BY q.seq LIMIT 1
    ) waiting
    ORDER BY r.rank LIMIT 1
) head
ORDER BY head.rank, head.seq
"""

# The lanes' lists are merged: each gives at most as many as are wanted in all.
_SHARES = """
SELECT lane, count(*) AS share FROM (
    SELECT waiting.lane
    FROM lanes l CROSS JOIN generate_series(1, 3) AS r (rank) CROSS JOIN LATERAL (
        SELECT q.lane, q.rank, q.seq FROM queue q
        WHERE q.lane = l.lane AND q.rank = r.rank AND q.state = 2 AND q.leader IS NULL AND q.seq >= l.floors[r.rank]
          AND (q.expire_time IS NULL OR q.expire_time > now())
        ORDER BY q.seq LIMIT $2
    ) waiting
    WHERE l.lane = ANY ($1::text[])
    ORDER BY waiting.rank, waiting.seq LIMIT $2
) best
GROUP BY lane
"""

_CLAIM = "SELECT * FROM claim_jobs($1, $2::text[], $3::bigint[], $4::int[], $5, $6)"

# 7 is EXPIRED.
_EXPIRED = """
SELECT job_id FROM queue WHERE expire_time IS NOT NULL AND state < 3 AND expire_time <= now()
ORDER BY expire_time LIMIT $1
"""
_EXPIRE = "SELECT * FROM end_waiting($1::uuid[], NULL, 7::smallint)"
_NEXT_EXPIRY = """
SELECT expire_time FROM queue WHERE expire_time IS NOT NULL AND state < 3 AND expire_time > now()
ORDER BY expire_time LIMIT 1
"""

_COUNT_WAITING = """
SELECT count(*) FROM (
    SELECT 1 FROM lanes l CROSS JOIN generate_series(1, 3) AS r (rank) CROSS JOIN LATERAL (
        SELECT 1 FROM queue q
        WHERE q.lane = l.lane AND q.rank = r.rank AND q.state = 2 AND q.leader IS NULL AND q.seq >= l.floors[r.rank]
          AND (q.expire_time IS NULL OR q.expire_time > now())
        ORDER BY q.seq LIMIT $1
    ) waiting
    LIMIT $1
) counted
"""

_PROMOTE_LIMIT = 1_000
_EXPIRE_LIMIT = 500
_RAISE_LIMIT = 500


class Claims(Queries):
    """Implements ClaimStore."""

    async def lane_heads(self, *, thorough: bool) -> Heads:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_LANE_HEADS, thorough)
        timed = [row for row in rows if row["claim_time"] is not None]
        return Heads(
            heads=[
                Head(row["lane"], row["rank"], row["seq"])
                for row in timed
                if row["claim_time"] <= row["now"] and row["claimable"] != 0
            ],
            next_time=min((row["claim_time"] for row in timed if row["claim_time"] > row["now"]), default=None),
        )

    async def shares(self, lanes: Collection[str], count: int) -> Mapping[str, int]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_SHARES, list(lanes), count)
        return {row["lane"]: row["share"] for row in rows}

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
                attempt_id=AttemptId(str(row["job_id"]), row["attempt"]),
                executor_id=row["executor_id"],
                session=sessions[row["executor_id"]],
                client_id=row["client_id"],
                lane=lane,
                rank=row["rank"],
                seq=row["seq"],
                step=row["step"],
                spec=spec_json.decode(row["spec"]),
                retry_count=row["retry_count"],
                permit_required=row["permit_required"],
                traceparent=row["traceparent"],
                queued_time=row["queued_time"],
                start_time=row["attempt_time"],
                flaws=tuple(row["flaws"]),
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

    async def expire_due(self) -> tuple[Collection[str], datetime.datetime | None]:
        changed: list[str] = []
        async with self._database.reserved() as connection:
            while True:
                due = await connection.fetch(_EXPIRED, _EXPIRE_LIMIT)
                if due:
                    rows = await connection.fetch(_EXPIRE, [row["job_id"] for row in due])
                    changed += [str(row["job_id"]) for row in rows if row["what"] == "changed"]
                if len(due) < _EXPIRE_LIMIT:
                    break
            next_time: datetime.datetime | None = await connection.fetchval(_NEXT_EXPIRY)
        return changed, next_time

    async def raise_old(self, age: datetime.timedelta) -> int:
        async with self._database.reserved() as connection:
            count: int = await connection.fetchval("SELECT raise_old($1, $2)", age, _RAISE_LIMIT)
        return count

    async def count_waiting(self, limit: int) -> int:
        async with self._database.reserved() as connection:
            count: int = await connection.fetchval(_COUNT_WAITING, limit)
        return count

    async def step_outputs(self, job_ids: Collection[str]) -> Mapping[str, str]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                "SELECT job_id, output_json FROM step_outputs WHERE job_id = ANY ($1::uuid[])", list(job_ids)
            )
        return {str(row["job_id"]): row["output_json"] for row in rows}
