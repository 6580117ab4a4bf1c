"""The keys and the record of changes of the store in memory. See ports.KeyStore."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from scheduler.callers import ApiKey, Role, StoredKey
from scheduler.errors import LastAdminKey
from scheduler.ports import StoreClock
from scheduler.records import AuditEntry, Change


class MemoryKeys:
    """The part of the store that knows who may call."""

    def __init__(self, *, clock: StoreClock) -> None:
        self._key_time = clock
        self._keys: dict[str, StoredKey] = {}
        self._secrets: dict[str, bytes] = {}
        self._audit: list[AuditEntry] = []

    async def keys(self) -> Sequence[StoredKey]:
        return sorted(self._keys.values(), key=lambda stored: stored.key.create_time, reverse=True)

    async def add_key(self, key: StoredKey) -> None:
        self._keys[key.key.key_id] = key

    async def add_first_key(self, key: StoredKey) -> bool:
        if self._works(key.key.role):
            return False
        await self.add_key(key)
        return True

    async def rotate_key(self, key_id: str, secret_hash: bytes, overlap: datetime.timedelta) -> ApiKey | None:
        stored = self._keys.get(key_id)
        if stored is None or stored.key.revoke_time is not None:
            return None
        key = dataclasses.replace(stored.key, old_secret_expire_time=self._key_time.now() + overlap)
        self._keys[key_id] = StoredKey(key=key, secret_hash=secret_hash, old_secret_hash=stored.secret_hash)
        return key

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        stored = self._keys.get(key_id)
        if stored is None:
            return None
        if stored.key.revoke_time is not None:
            return stored.key
        if stored.key.role is Role.ADMIN and not self._works(Role.ADMIN, besides=key_id):
            raise LastAdminKey(key_id)
        key = dataclasses.replace(stored.key, revoke_time=self._key_time.now(), old_secret_expire_time=None)
        self._keys[key_id] = StoredKey(key=key, secret_hash=stored.secret_hash)
        return key

    async def note_used(self, used: Mapping[str, datetime.datetime]) -> None:
        for key_id, time in used.items():
            if (stored := self._keys.get(key_id)) is not None:
                latest = max(time, stored.key.last_used_time or time)
                self._keys[key_id] = dataclasses.replace(
                    stored, key=dataclasses.replace(stored.key, last_used_time=latest)
                )

    async def signing_secret(self, name: str) -> bytes:
        return self._secrets.setdefault(name, name.encode() * 32)

    async def begin_audit(self, change: Change) -> int:
        entry = AuditEntry(audit_id=len(self._audit) + 1, create_time=self._key_time.now(), change=change, outcome="")
        self._audit.append(entry)
        return entry.audit_id

    async def end_audit(self, audit_id: int, outcome: str) -> None:
        self._audit[audit_id - 1] = dataclasses.replace(self._audit[audit_id - 1], outcome=outcome)

    async def audit_entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        entries = self._audit if before is None else self._audit[: before - 1]
        return entries[::-1][:limit]

    def _works(self, role: Role, *, besides: str = "") -> bool:
        return any(
            stored.key.role is role and stored.key.revoke_time is None and stored.key.key_id != besides
            for stored in self._keys.values()
        )
