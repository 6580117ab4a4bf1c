"""Sums up what was used. See ports.UsageStore."""

import asyncio
from collections.abc import Sequence

import asyncpg

from scheduler.jobs import Usage
from scheduler.postgres.database import Queries
from scheduler.records import UsageQuery, UsageRow

_COLUMNS = {"user": "user_id", "model": "model", "day": "to_char(day, 'YYYY-MM-DD')"}
_LABEL = "label:"
# Rows that are made before others get a turn.
_ROWS_AT_ONCE = 1_000

# Sorted as Python sorts, whatever the database's collation is.
_SUMS = """
SELECT {groups} coalesce(sum(jobs), 0)::bigint AS jobs,
    ARRAY[{tokens}] AS usage,
    coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(wasted_usd), 0) AS wasted_usd,
    coalesce(sum(unanswered_calls), 0)::bigint AS unanswered_calls
FROM usage_daily WHERE client_id = $1 AND day >= $2 AND day < $3
{grouping} LIMIT $4
"""
_TOKENS = ", ".join(f"coalesce(sum(usage[{place}]), 0)::bigint" for place in range(1, 6))


class UsageSums(Queries):
    """Implements UsageStore."""

    async def usage(self, client_id: str, query: UsageQuery, *, limit: int) -> Sequence[UsageRow]:
        names = [group.removeprefix(_LABEL) for group in query.group_by if group.startswith(_LABEL)]
        async with self._database.planning_anew() as connection:
            rows = await connection.fetch(
                _statement(query.group_by), client_id, query.from_day, query.to_day, limit, *names
            )
        summed: list[UsageRow] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            summed += [_row(query.group_by, row) for row in rows[start : start + _ROWS_AT_ONCE]]
            await asyncio.sleep(0)
        return summed


def _statement(group_by: Sequence[str]) -> str:
    """Return the statement; names of labels are its parameters from the fifth on, and nothing of the query is in it."""
    columns, labels = [], 4
    for group in group_by:
        if group.startswith(_LABEL):
            labels += 1
            columns.append(f"coalesce(labels ->> ${labels}::text, '')")
        else:
            columns.append(_COLUMNS[group])
    places = ", ".join(str(place) for place in range(1, len(columns) + 1))
    return _SUMS.format(
        groups="".join(f'({column}) COLLATE "C" AS group_{place}, ' for place, column in enumerate(columns)),
        tokens=_TOKENS,
        grouping=f"GROUP BY {places} ORDER BY {places}" if columns else "",
    )


def _row(group_by: Sequence[str], row: asyncpg.Record) -> UsageRow:
    tokens_in, tokens_out, thinking, cached, image = row["usage"]
    return UsageRow(
        group={name: row[f"group_{place}"] for place, name in enumerate(group_by)},
        jobs=row["jobs"],
        usage=Usage(
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            thinking_tokens=thinking,
            cached_tokens=cached,
            image_tokens=image,
        ),
        cost_usd=row["cost_usd"],
        wasted_usd=row["wasted_usd"],
        unanswered_calls=row["unanswered_calls"],
    )
