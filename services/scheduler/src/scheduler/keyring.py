"""What this scheduler knows of the keys: all of them, read often enough that a revoked one is out within seconds.

While no key was ever made the doors stand open: everybody is `anonymous` and may do everything. From the first key on
every call needs one, for good: a revoked key is a row, too, so revoking the last one does not open them again. Nor do
they open if all rows are gone, until the scheduler starts anew.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime import logs
from runtime.clock import Clock
from scheduler.callers import ANYBODY, Caller, StoredKey, SubmissionLimits
from scheduler.errors import KeyInvalid, KeyMissing, StoreUnavailable
from scheduler.ports import KeyStore, StoreClock

REFRESH_SECONDS = 1.0
MIN_PAUSE_SECONDS = 0.2
STALE_SECONDS = 4.0
"""With what is older nobody is let in: a key may have been revoked meanwhile. Less than the 5 s that are promised."""

_NOTE_SECONDS = 30.0

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """The keys at one time.

    Attributes:
        began: When the look began, monotonic.
        is_open: No key was ever made.
        callers: By the hash of what they send.
        expiring: When some of these hashes stop working.
    """

    began: float
    is_open: bool
    callers: Mapping[bytes, Caller] = field(default_factory=dict)
    expiring: Mapping[bytes, datetime.datetime] = field(default_factory=dict)


class Keyring:
    """Tells who calls. `defaults` are the limits of keys that say nothing."""

    def __init__(self, *, store: KeyStore, time: StoreClock, clock: Clock, defaults: SubmissionLimits) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._defaults = defaults
        self._look: _Look | None = None
        self._used: dict[str, datetime.datetime] = {}
        self._noted_at = clock.monotonic()
        self._woken = asyncio.Event()
        self._looking = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener after every look: callers may have lost their keys."""
        self._listeners.append(listener)

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a key."""
        return self._look is not None and self._look.is_open

    def authenticate(self, secret: str | None) -> Caller:
        """Return who sent this.

        Raises:
            KeyMissing: A key is needed.
            KeyInvalid: This one does not work.
            StoreUnavailable: Nobody knows, for the keys could not be read for too long.
        """
        look = self._look
        if look is None or self._clock.monotonic() - look.began > STALE_SECONDS:
            raise StoreUnavailable("The keys could not be read.")
        if look.is_open:
            return dataclasses.replace(ANYBODY, limits=self._defaults)
        if not secret:
            raise KeyMissing
        caller = self._holder(look, secret)
        if caller is None:
            raise KeyInvalid
        self._used[caller.key_id] = self._time.now()
        return caller

    async def authenticate_after_look(self, secret: str | None) -> Caller:
        """As `authenticate`, but look first if the key is unknown: another scheduler may just have made it."""
        try:
            return self.authenticate(secret)
        except KeyInvalid:
            await self._look_since(self._clock.monotonic())
        return self.authenticate(secret)

    async def _look_since(self, asked_at: float) -> None:
        """Look, unless somebody did since then; not more often than is good for the database, whoever asks."""
        async with self._looking:
            if self._look is None or self._look.began > asked_at:
                return
            await self._clock.sleep(self._look.began + MIN_PAUSE_SECONDS - self._clock.monotonic())
            await self.refresh()

    def still_works(self, caller: Caller, secret: str | None) -> bool:
        """Say whether a call that was let in may go on. One is not ended because the database is away."""
        look = self._look
        if look is None or look.is_open:
            return True
        # Who came in without a key, while the doors stood open, has none that works.
        return caller.role is not None and secret is not None and self._holder(look, secret) is not None

    async def refresh(self) -> None:
        """Look again. Raises StoreUnavailable."""
        began = self._clock.monotonic()
        stored = await self._store.keys()
        if self._look is None or began >= self._look.began:
            self._look = self._looked(began, stored)
            for listener in self._listeners:
                listener()

    async def run(self) -> None:
        """Look until cancelled, and note which keys are used."""
        while True:
            try:
                await self.refresh()
                await self._note_used()
            except StoreUnavailable as error:
                _log.debug("keys_not_read", error=str(error))
            await self._pause()

    def wake(self) -> None:
        """Another scheduler changed something: it may be a key."""
        self._woken.set()

    async def _pause(self) -> None:
        # Words of others come often under load; a look is not worth more than these.
        await self._clock.sleep(MIN_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_SECONDS - MIN_PAUSE_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _note_used(self) -> None:
        if not self._used or self._clock.monotonic() - self._noted_at < _NOTE_SECONDS:
            return
        used, self._used = self._used, {}
        self._noted_at = self._clock.monotonic()
        await self._store.note_used(used)

    def _looked(self, began: float, stored: Sequence[StoredKey]) -> _Look:
        callers: dict[bytes, Caller] = {}
        expiring: dict[bytes, datetime.datetime] = {}
        for each in stored:
            key = each.key
            if key.revoke_time is not None:
                continue
            caller = Caller(
                client_id=key.client_id, role=key.role, key_id=key.key_id, limits=self._or_default(key.limits)
            )
            callers[each.secret_hash] = caller
            if each.old_secret_hash is not None and key.old_secret_expire_time is not None:
                callers[each.old_secret_hash] = caller
                expiring[each.old_secret_hash] = key.old_secret_expire_time
        # A table that is empty all of a sudden, as after a restore, must not open the doors of a scheduler that may serve
        # others: without keys it would not have started there.
        was_open = self._look is None or self._look.is_open
        return _Look(began=began, is_open=not stored and was_open, callers=callers, expiring=expiring)

    def _or_default(self, limits: SubmissionLimits) -> SubmissionLimits:
        return SubmissionLimits(
            max_priority=limits.max_priority,
            per_second=self._defaults.per_second if limits.per_second is None else limits.per_second,
            max_queued=self._defaults.max_queued if limits.max_queued is None else limits.max_queued,
        )

    def _holder(self, look: _Look, secret: str) -> Caller | None:
        """Return whose secret this is, if it works."""
        digest = hashlib.sha256(secret.encode()).digest()
        expiry = look.expiring.get(digest)
        return None if expiry is not None and expiry <= self._time.now() else look.callers.get(digest)
