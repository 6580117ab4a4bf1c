"""Takes labels off the usage of purged jobs: what was used stays, for a bill needs it."""

import asyncpg

# Read without a lock: most users have no labels, or none any more.
_FIND = "SELECT EXISTS (SELECT 1 FROM usage_daily WHERE client_id = $1 AND user_id = $2 AND labels <> '{}')"

# Whoever counts does so last in a transaction, so this waits for some milliseconds. Row by row, in the order of the keys,
# it could not be done: the rows that are added to come in between.
_LOCK = "LOCK TABLE usage_daily IN SHARE ROW EXCLUSIVE MODE"

# The hash is that of add_usage.
_MERGE = """
WITH labelled AS (
    DELETE FROM usage_daily WHERE client_id = $1 AND user_id = $2 AND labels <> '{}' RETURNING *
)
INSERT INTO usage_daily AS u (day, client_id, user_id, model, labels_hash, labels, jobs, usage, cost_usd, wasted_usd,
    unanswered_calls)
SELECT day, client_id, user_id, model, sha256(convert_to('{}', 'UTF8')), '{}', sum(jobs),
    ARRAY[sum(usage[1]), sum(usage[2]), sum(usage[3]), sum(usage[4]), sum(usage[5])]::bigint[],
    sum(cost_usd), sum(wasted_usd), sum(unanswered_calls)
FROM labelled GROUP BY day, client_id, user_id, model
ON CONFLICT (day, client_id, user_id, model, labels_hash) DO UPDATE
SET jobs = u.jobs + excluded.jobs,
    usage = ARRAY[u.usage[1] + excluded.usage[1], u.usage[2] + excluded.usage[2], u.usage[3] + excluded.usage[3],
        u.usage[4] + excluded.usage[4], u.usage[5] + excluded.usage[5]],
    cost_usd = u.cost_usd + excluded.cost_usd, wasted_usd = u.wasted_usd + excluded.wasted_usd,
    unanswered_calls = u.unanswered_calls + excluded.unanswered_calls
"""


async def remove_labels(connection: asyncpg.Connection, client_id: str, user_id: str) -> None:
    """Merge a user's usage of each day and model into one row without labels, in the transaction of the connection."""
    if await connection.fetchval(_FIND, client_id, user_id):
        await connection.execute(_LOCK)
        await connection.execute(_MERGE, client_id, user_id)
