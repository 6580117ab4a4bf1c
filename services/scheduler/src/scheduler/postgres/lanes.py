"""Keeps the lanes, the switches, and the words from scheduler to scheduler. See ports.LaneStore and CommandStore."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import asyncpg

from policies.breaker import Breaker
from policies.quota import Limits, Pace, Window
from scheduler.errors import StoreUnavailable
from scheduler.lanes import Lane
from scheduler.postgres.database import Database, Queries
from scheduler.records import AttemptId, LaneLoad, RunningAttempt

T = TypeVar("T")

_SELECT = """
SELECT lane, version, paused, stopped_reason, requests_per_minute, input_tokens_per_minute, requests_per_day,
    max_in_flight, dollars_per_10_minutes, next_permit_time, closed_until, breaker_failures, breaker_open_until,
    probe_job_id, probe_attempt, throttles, day, day_count, windows
FROM lanes
"""
_ALL = _SELECT + "ORDER BY lane"
_ONE = _SELECT + "WHERE lane = $1"

_SET = """
UPDATE lanes SET version = version + 1, paused = $3, stopped_reason = $4, requests_per_minute = $5,
    input_tokens_per_minute = $6, requests_per_day = $7, max_in_flight = $8, dollars_per_10_minutes = $9,
    next_permit_time = $10, closed_until = $11, breaker_failures = $12, breaker_open_until = $13, probe_job_id = $14,
    probe_attempt = $15, throttles = $16, day = $17, day_count = $18, windows = $19
WHERE lane = $1 AND version = $2
"""

_LOADS = """
SELECT lane, count(*) FILTER (WHERE state < 3) AS waiting, count(*) FILTER (WHERE state = 3) AS running
FROM queue GROUP BY lane
"""

_STOPS_AGE = "10 s"
_MAX_TURNS = 50


class Lanes(Queries):
    """Implements LaneStore and CommandStore."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        # Commands that were read: they are read again for a while, because their ids do not become visible in order.
        self._taken: set[int] = set()

    async def add_lanes(self, names: Collection[str]) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(
                "INSERT INTO lanes (lane) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", sorted(names)
            )

    async def lanes(self) -> Sequence[Lane]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(_ALL)
        return [_lane(row) for row in rows]

    async def lane_loads(self) -> Mapping[str, LaneLoad]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LOADS)
        return {row["lane"]: LaneLoad(row["waiting"], row["running"]) for row in rows}

    async def in_flight(self, lanes: Collection[str]) -> Mapping[str, int]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                "SELECT lane, count(*) AS running FROM queue WHERE state = 3 AND lane = ANY ($1::text[]) GROUP BY lane",
                list(lanes),
            )
        return {row["lane"]: row["running"] for row in rows}

    async def change_lane(self, name: str, decide: Callable[[Lane], tuple[Lane, T]]) -> tuple[Lane, T] | None:
        async with self._database.reserved() as connection:
            for _ in range(_MAX_TURNS):
                row = await connection.fetchrow(_ONE, name)
                if row is None:
                    return None
                lane = _lane(row)
                changed, answer = decide(lane)
                if (
                    changed == lane
                    or await connection.execute(_SET, name, row["version"], *_values(changed)) != "UPDATE 0"
                ):
                    return changed, answer
        raise StoreUnavailable(f"The lane {name} changes too often.")

    async def is_accepting(self) -> bool:
        async with self._database.reserved() as connection:
            is_on: bool | None = await connection.fetchval("SELECT is_on FROM switches WHERE name = 'accepting'")
        return is_on is not False

    async def set_accepting(self, *, accepting: bool) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(
                "INSERT INTO switches (name, is_on) VALUES ('accepting', $1)"
                " ON CONFLICT (name) DO UPDATE SET is_on = excluded.is_on",
                accepting,
            )

    async def post_stops(self, attempts: Sequence[RunningAttempt]) -> None:
        payload = [[*each.attempt_id, each.executor_id, each.session] for each in attempts]
        async with self._database.reserved() as connection:
            await connection.execute(
                "INSERT INTO commands (kind, payload) VALUES ('stop', $1::jsonb)", json.dumps(payload)
            )

    async def take_stops(self) -> Sequence[RunningAttempt]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch(
                "SELECT id, payload FROM commands WHERE kind = 'stop' AND create_time > now() - $1::text::interval",
                _STOPS_AGE,
            )
        fresh = [row for row in rows if row["id"] not in self._taken]
        self._taken = {row["id"] for row in rows}
        return [
            RunningAttempt(AttemptId(job_id, attempt), executor_id, session)
            for row in fresh
            for job_id, attempt, executor_id, session in json.loads(row["payload"])
        ]


def _lane(row: asyncpg.Record) -> Lane:
    windows = json.loads(row["windows"]) if row["windows"] else {}
    return Lane(
        name=row["lane"],
        paused=row["paused"],
        stopped_reason=row["stopped_reason"] or "",
        limits=Limits(
            requests_per_minute=row["requests_per_minute"],
            input_tokens_per_minute=row["input_tokens_per_minute"],
            requests_per_day=row["requests_per_day"],
            max_in_flight=row["max_in_flight"],
            dollars_per_10_minutes=row["dollars_per_10_minutes"],
        ),
        pace=Pace(
            next_permit_time=row["next_permit_time"],
            day=row["day"],
            day_count=row["day_count"],
            tokens=_window(windows.get("tokens")),
            dollars=_window(windows.get("dollars")),
        ),
        closed_until=row["closed_until"],
        throttles=row["throttles"],
        breaker=Breaker(
            failures=row["breaker_failures"],
            open_until=row["breaker_open_until"],
            probe=(str(row["probe_job_id"]), row["probe_attempt"]) if row["probe_job_id"] else None,
        ),
    )


def _values(lane: Lane) -> tuple[object, ...]:
    """Return the parameters of _SET from the third on."""
    limits, pace, breaker = lane.limits, lane.pace, lane.breaker
    job_id, attempt = breaker.probe or (None, None)
    windows = {
        name: [window.newest, list(window.used)]
        for name, window in (("tokens", pace.tokens), ("dollars", pace.dollars))
        if window.used
    }
    return (
        lane.paused,
        lane.stopped_reason or None,
        limits.requests_per_minute,
        limits.input_tokens_per_minute,
        limits.requests_per_day,
        limits.max_in_flight,
        limits.dollars_per_10_minutes,
        pace.next_permit_time,
        lane.closed_until,
        breaker.failures,
        breaker.open_until,
        job_id,
        attempt,
        lane.throttles,
        pace.day,
        pace.day_count,
        json.dumps(windows) if windows else None,
    )


def _window(stored: list[object] | None) -> Window:
    if stored is None:
        return Window()
    newest, used = stored
    assert isinstance(newest, int)
    assert isinstance(used, list)
    return Window(newest, tuple(used))
