"""Keeps keys, signing secrets, and the record of changes. See ports.KeyStore."""

import contextlib
import datetime
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from scheduler.callers import ApiKey, Role, StoredKey, SubmissionLimits
from scheduler.errors import LastAdminKey
from scheduler.postgres.database import Queries
from scheduler.records import AuditEntry, Change

_ADD = """
INSERT INTO api_keys (key_id, client_id, role, secret_hash, max_priority, submissions_per_second, max_queued_jobs,
    create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

_ROTATE = """
UPDATE api_keys SET old_secret_hash = secret_hash, old_secret_expire_time = now() + $3, secret_hash = $2
WHERE key_id = $1 AND revoke_time IS NULL RETURNING *
"""

# What nobody can use any more is not kept.
_REVOKE = """
UPDATE api_keys SET revoke_time = coalesce(revoke_time, now()), old_secret_hash = NULL, old_secret_expire_time = NULL
WHERE key_id = $1 RETURNING *
"""

_NOTE_USED = """
UPDATE api_keys k SET last_used_time = greatest(k.last_used_time, used.time)
FROM unnest($1::text[], $2::timestamptz[]) AS used (key_id, time) WHERE k.key_id = used.key_id
"""

_WORKS = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE role = $1 AND revoke_time IS NULL AND key_id <> $2)"

_SECRET_BYTES = 32


class Keys(Queries):
    """Implements KeyStore."""

    async def keys(self) -> Sequence[StoredKey]:
        async with self._database.reserved() as connection:
            rows = await connection.fetch("SELECT * FROM api_keys ORDER BY create_time DESC, key_id")
        return [_stored(row) for row in rows]

    async def add_key(self, key: StoredKey) -> None:
        async with self._database.reserved() as connection:
            await connection.execute(_ADD, *_values(key))

    async def add_first_key(self, key: StoredKey) -> bool:
        async with self._changing() as connection:
            if await connection.fetchval(_WORKS, key.key.role, ""):
                return False
            await connection.execute(_ADD, *_values(key))
        return True

    async def rotate_key(self, key_id: str, secret_hash: bytes, overlap: datetime.timedelta) -> ApiKey | None:
        async with self._database.reserved() as connection:
            row = await connection.fetchrow(_ROTATE, key_id, secret_hash, overlap)
        return _stored(row).key if row else None

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        async with self._changing() as connection:
            role = await connection.fetchval(
                "SELECT role FROM api_keys WHERE key_id = $1 AND revoke_time IS NULL", key_id
            )
            if role == Role.ADMIN and not await connection.fetchval(_WORKS, Role.ADMIN, key_id):
                raise LastAdminKey(key_id)
            row = await connection.fetchrow(_REVOKE, key_id)
        return _stored(row).key if row else None

    async def note_used(self, used: Mapping[str, datetime.datetime]) -> None:
        # Under the lock, because two schedulers would wait for each other's rows.
        async with self._changing() as connection:
            await connection.execute(_NOTE_USED, list(used), list(used.values()))

    async def signing_secret(self, name: str) -> bytes:
        async with self._database.reserved() as connection:
            await connection.execute(
                "INSERT INTO signing_keys (name, secret, create_time) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING",
                name,
                secrets.token_bytes(_SECRET_BYTES),
            )
            secret: bytes = await connection.fetchval("SELECT secret FROM signing_keys WHERE name = $1", name)
        return secret

    async def begin_audit(self, change: Change) -> int:
        async with self._database.reserved() as connection:
            audit_id: int = await connection.fetchval(
                "INSERT INTO audit_log (create_time, key_id, client_id, method, request)"
                " VALUES (now(), $1, $2, $3, $4) RETURNING audit_id",
                change.key_id,
                change.client_id,
                change.method,
                change.request,
            )
        return audit_id

    async def end_audit(self, audit_id: int, outcome: str) -> None:
        async with self._database.reserved() as connection:
            await connection.execute("UPDATE audit_log SET outcome = $2 WHERE audit_id = $1", audit_id, outcome)

    async def audit_entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM audit_log WHERE $1::bigint IS NULL OR audit_id < $1 ORDER BY audit_id DESC LIMIT $2",
                before,
                limit,
            )
        return [_entry(row) for row in rows]

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a transaction in which nobody else changes keys."""
        async with self._database.reserved() as connection, connection.transaction():
            await connection.execute("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")
            yield connection


def _values(stored: StoredKey) -> tuple[object, ...]:
    key = stored.key
    return (
        key.key_id,
        key.client_id,
        key.role,
        stored.secret_hash,
        key.limits.max_priority,
        key.limits.per_second,
        key.limits.max_queued,
        key.create_time,
    )


def _stored(row: asyncpg.Record) -> StoredKey:
    key = ApiKey(
        key_id=row["key_id"],
        client_id=row["client_id"],
        role=Role(row["role"]),
        limits=SubmissionLimits(
            max_priority=row["max_priority"],
            per_second=row["submissions_per_second"],
            max_queued=row["max_queued_jobs"],
        ),
        create_time=row["create_time"],
        last_used_time=row["last_used_time"],
        revoke_time=row["revoke_time"],
        old_secret_expire_time=row["old_secret_expire_time"],
    )
    return StoredKey(key=key, secret_hash=row["secret_hash"], old_secret_hash=row["old_secret_hash"])


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        audit_id=row["audit_id"],
        create_time=row["create_time"],
        change=Change(key_id=row["key_id"], client_id=row["client_id"], method=row["method"], request=row["request"]),
        outcome=row["outcome"] or "",
    )
