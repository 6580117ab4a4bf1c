"""Makes, lists, rotates and revokes the keys of callers.

A key is `vj_<key_id>_<secret>`: the id finds it in lists and logs, the prefix lets scanners of leaked secrets know it.
Its secret is shown once and never stored.
"""

import contextlib
import datetime
import hashlib
import re
from collections.abc import Sequence

from policies.submission_rate import SLOWEST_PER_SECOND
from runtime import logs
from runtime.randomness import Randomness
from scheduler.callers import ANONYMOUS, LOCAL, ApiKey, Role, StoredKey, SubmissionLimits
from scheduler.errors import InvalidRequest, KeyIsRevoked, KeyNotFound, StoreUnavailable, Violation
from scheduler.keyring import Keyring
from scheduler.ports import KeyStore, StoreClock
from scheduler.signals import Signals

MAX_OVERLAP = datetime.timedelta(days=7)
DEFAULT_OVERLAP = datetime.timedelta(hours=1)
MAX_LIMIT = 1_000_000_000
"""Of the numbers of a key: more than anybody needs."""

_ID_BYTES = 6
_SECRET_BYTES = 32
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)

_log = logs.get_logger(__name__)


class Keys:
    """The use case. A change holds here at once, on the other schedulers as soon as their keyrings look."""

    def __init__(
        self, *, store: KeyStore, time: StoreClock, randomness: Randomness, keyring: Keyring, signals: Signals
    ) -> None:
        self._store = store
        self._time = time
        self._randomness = randomness
        self._keyring = keyring
        self._signals = signals

    async def create(self, client_id: str, role: Role, limits: SubmissionLimits) -> tuple[ApiKey, str]:
        """Return a new key and its secret. Raises InvalidRequest."""
        key, secret = new_key(client_id, role, limits, now=self._time.now(), randomness=self._randomness)
        await self._store.add_key(key)
        await self._changed("key_created", key.key)
        return key.key, secret

    async def all(self) -> Sequence[ApiKey]:
        """Return all keys, newest first."""
        return [stored.key for stored in await self._store.keys()]

    async def rotate(self, key_id: str, overlap: datetime.timedelta | None) -> tuple[ApiKey, str]:
        """Give a key a new secret, and return both; the old one works for `overlap` longer, by default 1 h.

        Raises:
            InvalidRequest: The overlap is negative or longer than 7 days.
            KeyNotFound: There is no such key.
            KeyIsRevoked: It has ended.
        """
        overlap = DEFAULT_OVERLAP if overlap is None else overlap
        if not datetime.timedelta() <= overlap <= MAX_OVERLAP:
            raise InvalidRequest([Violation("overlap", "must be 0 s to 7 days")])
        secret = _secret(key_id, self._randomness)
        key = await self._store.rotate_key(key_id, hashed(secret), overlap)
        if key is None:
            raise KeyIsRevoked(key_id) if await self._exists(key_id) else KeyNotFound(key_id)
        await self._changed("key_rotated", key)
        return key, secret

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key. Raises KeyNotFound, LastAdminKey."""
        key = await self._store.revoke_key(key_id)
        if key is None:
            raise KeyNotFound(key_id)
        await self._changed("key_revoked", key)
        return key

    async def _exists(self, key_id: str) -> bool:
        return any(stored.key.key_id == key_id for stored in await self._store.keys())

    async def _changed(self, event: str, key: ApiKey) -> None:
        _log.info(event, key_id=key.key_id, client_id=key.client_id, role=key.role.name)
        self._signals.announce()
        # The change is stored, and a new secret is shown only once: it must not be lost because of a look that failed.
        with contextlib.suppress(StoreUnavailable):
            await self._keyring.refresh()


def new_key(
    client_id: str, role: Role, limits: SubmissionLimits, *, now: datetime.datetime, randomness: Randomness
) -> tuple[StoredKey, str]:
    """Make a key, and what its callers send. Raises InvalidRequest with the fields of CreateKeyRequest."""
    if violations := _check(client_id, role, limits):
        raise InvalidRequest(violations)
    key_id = randomness.token(_ID_BYTES).hex()
    secret = _secret(key_id, randomness)
    key = ApiKey(key_id=key_id, client_id=client_id, role=role, limits=limits, create_time=now)
    return StoredKey(key=key, secret_hash=hashed(secret)), secret


def hashed(secret: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(secret.encode()).digest()


def _secret(key_id: str, randomness: Randomness) -> str:
    return f"vj_{key_id}_{randomness.token(_SECRET_BYTES).hex()}"


def _check(client_id: str, role: Role, limits: SubmissionLimits) -> list[Violation]:
    violations = []
    if client_id == LOCAL or (client_id == ANONYMOUS and role is not Role.CLIENT):
        # A client's key for it is the way to the jobs of the time before keys.
        violations.append(Violation("client_id", f"{client_id!r} stands for callers without a key"))
    if not _CLIENT.fullmatch(client_id):
        message = "must be 1 to 63 letters, digits, '-', '_' and '.', the first a letter or digit"
        violations.append(Violation("client_id", message if client_id else "is required"))
    if limits.max_priority is not None and not 1 <= limits.max_priority <= 3:
        violations.append(Violation("max_priority", "must be 1, 2 or 3, or 0 for any"))
    if limits.per_second is not None and not SLOWEST_PER_SECOND <= limits.per_second <= MAX_LIMIT:
        message = f"must be 0, or a number from {SLOWEST_PER_SECOND:g} to {MAX_LIMIT}"
        violations.append(Violation("submissions_per_second", message))
    if limits.max_queued is not None and not 0 < limits.max_queued <= MAX_LIMIT:
        violations.append(Violation("max_queued_jobs", f"must be 0, or a positive number up to {MAX_LIMIT}"))
    return violations
