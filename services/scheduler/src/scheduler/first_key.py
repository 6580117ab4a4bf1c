"""Makes the first keys of an installation, where nobody can ask for one by a call yet: at the database.

A key that goes to a file is written there before it works: a crash in between leaves a file to write again, and never
a working key that nobody has.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from runtime.randomness import Randomness
from runtime.secret_files import read_secret
from scheduler import private_files
from scheduler.callers import LOCAL, UNLIMITED, ApiKey, Role, StoredKey
from scheduler.keys import hashed, new_key
from scheduler.ports import KeyStore, StoreClock
from scheduler.records import Change

METHOD = "bootstrap-key"
"""Who the audit says has made the key: somebody who holds the database."""


class KeyExists(Exception):
    """A key of the role works already."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"A key with the role {role.name.lower()} works already; --again makes another one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A key to make; with `again` even if one of the role works."""

    role: Role
    client_id: str
    again: bool = False


class FirstKey:
    """The use case."""

    def __init__(self, *, store: KeyStore, time: StoreClock, randomness: Randomness, wanted: Wanted) -> None:
        self._store = store
        self._time = time
        self._randomness = randomness
        self._wanted = wanted

    async def make(self) -> str:
        """Make a key, and return it.

        Raises:
            KeyExists: One of the role works.
            InvalidRequest: The client's name is none.
        """
        stored, secret = self._new()
        await self._add(stored)
        return secret

    async def write_to(self, file: Path) -> ApiKey | None:
        """Make a key and write it to a file; return None if the one that is there works.

        Blocks, and wants nobody else to write that file meanwhile.

        Raises:
            KeyExists: Another one of the role works.
            InvalidRequest: The client's name is none.
            OSError: The file cannot be read or written.
        """
        working = [each for each in await self._store.keys() if self._is_working(each)]
        if (present := _digest_in(file)) and any(self._takes(each, present) for each in working):
            return None
        if working and not self._wanted.again:
            raise KeyExists(self._wanted.role)
        stored, secret = self._new()
        private_files.write(file, f"{secret}\n".encode())
        try:
            await self._add(stored)
        except KeyExists:
            # Another machine was quicker. What is in the file will never work.
            _remove(file)
            raise
        return stored.key

    def _is_working(self, stored: StoredKey) -> bool:
        return stored.key.role is self._wanted.role and stored.key.revoke_time is None

    def _takes(self, stored: StoredKey, digest: bytes) -> bool:
        if digest == stored.secret_hash:
            return True
        expiry = stored.key.old_secret_expire_time
        return digest == stored.old_secret_hash and expiry is not None and expiry > self._time.now()

    def _new(self) -> tuple[StoredKey, str]:
        return new_key(
            self._wanted.client_id, self._wanted.role, UNLIMITED, now=self._time.now(), randomness=self._randomness
        )

    async def _add(self, stored: StoredKey) -> None:
        request = json.dumps(
            {"key_id": stored.key.key_id, "client_id": self._wanted.client_id, "role": self._wanted.role.name}
        )
        audit_id = await self._store.begin_audit(Change(key_id="", client_id=LOCAL, method=METHOD, request=request))
        if self._wanted.again:
            await self._store.add_key(stored)
        elif not await self._store.add_first_key(stored):
            await self._store.end_audit(audit_id, "ALREADY_EXISTS")
            raise KeyExists(self._wanted.role)
        await self._store.end_audit(audit_id, "OK")


def _digest_in(file: Path) -> bytes | None:
    try:
        return hashed(read_secret(file))
    except FileNotFoundError:
        return None


def _remove(file: Path) -> None:
    file.unlink()
