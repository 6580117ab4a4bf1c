"""Puts usage into a store as it would be after days of work."""

import datetime
import json
from collections.abc import Mapping

import asyncpg

from scheduler.jobs import Usage
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store

MODEL = "gemini-3.8-flash"
USED = Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1)

_ADD = """
INSERT INTO usage_daily (day, client_id, user_id, model, labels_hash, labels, jobs, usage, cost_usd, wasted_usd,
    unanswered_calls)
SELECT $1, $2, $3, $4, sha256(convert_to(labels::text, 'UTF8')), labels, $6, $7, $8, $9, $10
FROM (SELECT $5::jsonb AS labels) given
"""


class UsageRows:
    """Adds rows to one store."""

    def __init__(self, store: Store, url: str | None) -> None:
        self._store = store
        self._url = url

    async def add(
        self,
        day: datetime.date,
        *,
        client_id: str = "client",
        user_id: str = "user",
        model: str = MODEL,
        labels: Mapping[str, str] | None = None,
        jobs: int = 1,
        cost_usd: float = 0.5,
        wasted_usd: float = 0.25,
        unanswered_calls: int = 0,
    ) -> None:
        labels = labels or {}
        if isinstance(self._store, MemoryStore):
            self._store._usage.add(  # what only days of work would make
                day,
                client_id,
                user_id,
                model,
                labels,
                jobs=jobs,
                usage=USED,
                cost_usd=cost_usd,
                wasted_usd=wasted_usd,
                unanswered_calls=unanswered_calls,
            )
            return
        tokens = [USED.input_tokens, USED.output_tokens, USED.thinking_tokens, USED.cached_tokens, USED.image_tokens]
        assert self._url is not None
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(
                _ADD,
                day,
                client_id,
                user_id,
                model,
                json.dumps(labels),
                jobs,
                tokens,
                cost_usd,
                wasted_usd,
                unanswered_calls,
            )
        finally:
            await connection.close()
