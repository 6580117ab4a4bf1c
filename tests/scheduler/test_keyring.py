"""Who is let in, and for how long."""

import asyncio
import datetime
from collections.abc import Sequence

import pytest

from devkit.virtual_time import EPOCH
from runtime.randomness import SystemRandomness
from scheduler.callers import ANONYMOUS, Role, StoredKey, SubmissionLimits
from scheduler.errors import KeyInvalid, KeyMissing, StoreUnavailable
from scheduler.keyring import STALE_SECONDS, Keyring
from scheduler.keys import hashed, new_key
from scheduler.memory_store import MemoryStore

DEFAULTS = SubmissionLimits(per_second=100.0, max_queued=1000)
MINUTE = datetime.timedelta(minutes=1)


class HandClock:
    """Stands still between two advances."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.seconds += max(0.0, seconds)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class FaultyStore(MemoryStore):
    away = False
    looks = 0

    async def keys(self) -> Sequence[StoredKey]:
        self.looks += 1
        if self.away:
            raise StoreUnavailable("away")
        return await super().keys()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> FaultyStore:
    return FaultyStore(clock=clock)


@pytest.fixture
async def keyring(store: FaultyStore, clock: HandClock) -> Keyring:
    keyring = Keyring(store=store, time=store.time, clock=clock, defaults=DEFAULTS)
    await keyring.refresh()
    return keyring


async def add(
    store: FaultyStore, role: Role = Role.CLIENT, limits: SubmissionLimits | None = None
) -> tuple[StoredKey, str]:
    key, secret = new_key(
        "backend", role, limits or SubmissionLimits(), now=store.time.now(), randomness=SystemRandomness()
    )
    await store.add_key(key)
    return key, secret


async def test_before_there_is_a_key_everybody_is_anonymous(keyring: Keyring) -> None:
    for secret in (None, "vj_made_up"):
        caller = keyring.authenticate(secret)
        assert (caller.client_id, caller.role, caller.limits) == (ANONYMOUS, None, DEFAULTS)
    assert keyring.is_open


async def test_from_the_first_key_on_every_call_needs_one(keyring: Keyring, store: FaultyStore) -> None:
    key, secret = await add(store)
    await keyring.refresh()

    caller = keyring.authenticate(secret)
    assert (caller.client_id, caller.role, caller.key_id) == ("backend", Role.CLIENT, key.key.key_id)
    for missing in (None, ""):
        with pytest.raises(KeyMissing):
            keyring.authenticate(missing)
    for wrong in (secret[:-1], secret + "0", secret.upper(), key.secret_hash.hex(), "ключ"):
        with pytest.raises(KeyInvalid):
            keyring.authenticate(wrong)
    assert not keyring.is_open


async def test_revoking_the_last_key_does_not_open_the_door(keyring: Keyring, store: FaultyStore) -> None:
    key, secret = await add(store)
    await store.revoke_key(key.key.key_id)
    await keyring.refresh()

    with pytest.raises(KeyInvalid):
        keyring.authenticate(secret)
    with pytest.raises(KeyMissing):
        keyring.authenticate(None)


async def test_keys_that_are_all_gone_do_not_open_the_door(keyring: Keyring, store: FaultyStore) -> None:
    stored, secret = await add(store)
    await keyring.refresh()
    caller = keyring.authenticate(secret)

    store._keys.clear()
    await keyring.refresh()

    assert not keyring.is_open
    assert not keyring.still_works(caller, secret)
    with pytest.raises(KeyMissing):
        keyring.authenticate(None)
    with pytest.raises(KeyInvalid):
        keyring.authenticate(secret)
    await store.add_key(stored)
    await keyring.refresh()
    assert keyring.authenticate(secret) == caller


async def test_a_revoked_key_ends_what_it_began(keyring: Keyring, store: FaultyStore) -> None:
    key, secret = await add(store)
    await keyring.refresh()
    caller = keyring.authenticate(secret)
    assert keyring.still_works(caller, secret)

    await store.revoke_key(key.key.key_id)
    told: list[bool] = []
    keyring.listen(lambda: told.append(keyring.still_works(caller, secret)))
    await keyring.refresh()

    assert told == [False]


async def test_the_first_key_ends_what_the_open_door_let_in(keyring: Keyring, store: FaultyStore) -> None:
    nobody = keyring.authenticate(None)
    assert keyring.still_works(nobody, None)

    await add(store)
    await keyring.refresh()

    assert not keyring.still_works(nobody, None)


async def test_the_old_secret_works_until_its_overlap_is_over(
    keyring: Keyring, store: FaultyStore, clock: HandClock
) -> None:
    key, old = await add(store)
    await store.rotate_key(key.key.key_id, hashed("new"), MINUTE)
    await keyring.refresh()
    caller = keyring.authenticate(old)
    assert keyring.authenticate("new") == caller

    clock.advance(59.0)
    await keyring.refresh()
    assert keyring.authenticate(old) == caller

    clock.advance(1.0)
    with pytest.raises(KeyInvalid):
        keyring.authenticate(old)
    assert not keyring.still_works(caller, old)
    assert keyring.still_works(caller, "new")


async def test_a_key_without_limits_has_those_of_the_settings(keyring: Keyring, store: FaultyStore) -> None:
    _, plain = await add(store)
    _, limited = await add(store, limits=SubmissionLimits(max_priority=2, per_second=5.0))
    await keyring.refresh()

    assert keyring.authenticate(plain).limits == DEFAULTS
    assert keyring.authenticate(limited).limits == SubmissionLimits(max_priority=2, per_second=5.0, max_queued=1000)


async def test_with_keys_that_could_not_be_read_for_too_long_nobody_is_let_in(
    keyring: Keyring, store: FaultyStore, clock: HandClock
) -> None:
    _, secret = await add(store)
    await keyring.refresh()
    caller = keyring.authenticate(secret)

    store.away = True
    with pytest.raises(StoreUnavailable):
        await keyring.refresh()
    clock.advance(STALE_SECONDS)
    assert keyring.authenticate(secret) == caller
    clock.advance(0.1)

    with pytest.raises(StoreUnavailable):
        keyring.authenticate(secret)
    # What runs goes on: nobody can revoke a key while the database is away.
    assert keyring.still_works(caller, secret)


async def test_a_keyring_that_never_read_lets_nobody_in(store: FaultyStore, clock: HandClock) -> None:
    with pytest.raises(StoreUnavailable):
        Keyring(store=store, time=store.time, clock=clock, defaults=DEFAULTS).authenticate(None)


async def test_however_many_unknown_keys_come_the_store_is_asked_once_for_all(
    keyring: Keyring, store: FaultyStore, clock: HandClock
) -> None:
    _, late = await add(store)
    before = store.looks

    async def refused(secret: str) -> None:
        with pytest.raises(KeyInvalid):
            await keyring.authenticate_after_look(secret)

    await keyring.refresh()
    _, later = await add(store)
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(refused(f"vj_{number}_0"))
        known = tasks.create_task(keyring.authenticate_after_look(later))

    assert known.result().client_id == "backend"
    assert keyring.authenticate(late).client_id == "backend"
    assert store.looks - before <= 3
    assert clock.seconds > 0
