"""What operators are told and change, and what is remembered to spare them: keys, alerts, refusals."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Protocol

from scheduler.callers import ApiKey, StoredKey
from scheduler.records import Alert, AuditEntry, Change, Refused, RefusedKind


class KeyStore(Protocol):
    """Keeps the keys, and who changed what."""

    async def keys(self) -> Sequence[StoredKey]:
        """Return all keys, revoked ones included, newest first."""
        ...

    async def add_key(self, key: StoredKey) -> None:
        """Store a new key."""
        ...

    async def add_first_key(self, key: StoredKey) -> bool:
        """Store a new key unless one of its role works already; say whether it was stored."""
        ...

    async def rotate_key(self, key_id: str, secret_hash: bytes, overlap: datetime.timedelta) -> ApiKey | None:
        """Give a key that works a new secret; the present one works this much longer. None if there is no such key."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        """End a key; None if there is none of that id.

        Raises:
            LastAdminKey: No other admin key would work; nothing was changed.
        """
        ...

    async def note_used(self, used: Mapping[str, datetime.datetime]) -> None:
        """Note when keys, by id, were last used."""
        ...

    async def signing_secret(self, name: str) -> bytes:
        """Return the secret of that name, the same on every scheduler; the first call makes it."""
        ...

    async def begin_audit(self, change: Change) -> int:
        """Note a change that is about to be made; return the id of the entry."""
        ...

    async def end_audit(self, audit_id: int, outcome: str) -> None:
        """Note how it ended."""
        ...

    async def audit_entries(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, only those with a smaller id than `before`."""
        ...


class AlertStore(Protocol):
    """Keeps what wants a person."""

    async def raise_alert(self, alert: Alert) -> bool:
        """Keep an alert; return False where one of its name and subject is active, whose message is renewed then.

        One that ended less than ten minutes ago goes on.
        """
        ...

    async def end_alert(self, name: str, subject: str) -> bool:
        """End an active alert now; say whether there was one."""
        ...

    async def alerts(self, *, include_ended: bool, limit: int) -> Sequence[Alert]:
        """Return alerts, newest first."""
        ...


class RefusalStore(Protocol):
    """Remembers what the provider refuses again and again."""

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
        """Count one more refusal in a row; from the limit on nothing with it is tried for the time of `rest`."""
        ...

    async def note_accepted(self, kind: RefusedKind, client_id: str, key: str, lane: str) -> None:
        """Forget the refusals of something that was accepted."""
        ...

    async def refused(self) -> Sequence[Refused]:
        """Return what was refused and is remembered, of all clients: what was not refused for a day is forgotten."""
        ...
