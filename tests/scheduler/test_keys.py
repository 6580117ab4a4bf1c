"""Makes, rotates and revokes keys."""

import datetime
import re
from collections.abc import Sequence

import pytest
from scheduler_world import FakeSignals

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from scheduler.callers import UNLIMITED, Role, StoredKey, SubmissionLimits
from scheduler.errors import InvalidRequest, KeyInvalid, KeyIsRevoked, KeyNotFound, StoreUnavailable
from scheduler.keyring import Keyring
from scheduler.keys import MAX_LIMIT, MAX_OVERLAP, Keys, hashed
from scheduler.memory_store import MemoryStore

SECOND = datetime.timedelta(seconds=1)


class World:
    """Keys on a store in memory, and a keyring that looks only when it is told to."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.store = MemoryStore(clock=clock)
        self.signals = FakeSignals()
        self.keyring = Keyring(store=self.store, time=self.store.time, clock=clock, defaults=UNLIMITED)
        self.keys = Keys(
            store=self.store,
            time=self.store.time,
            randomness=SystemRandomness(),
            keyring=self.keyring,
            signals=self.signals,
        )


@pytest.fixture
def world() -> World:
    return World()


async def test_a_new_key_works_at_once_and_the_others_are_told(world: World) -> None:
    key, secret = await world.keys.create("shop-1", Role.CLIENT, SubmissionLimits(max_priority=2))

    assert re.fullmatch(rf"vj_{key.key_id}_[0-9a-f]{{64}}", secret)
    caller = world.keyring.authenticate(secret)
    assert (caller.client_id, caller.role, caller.key_id) == ("shop-1", Role.CLIENT, key.key_id)
    assert caller.limits == SubmissionLimits(max_priority=2)
    assert world.signals.announced == 1
    assert (await world.store.keys())[0].secret_hash == hashed(secret)


async def test_two_keys_have_nothing_in_common(world: World) -> None:
    made = [await world.keys.create("shop", Role.CLIENT, UNLIMITED) for _ in range(2)]

    assert len({key.key_id for key, _ in made}) == 2
    assert len({secret.rpartition("_")[2] for _, secret in made}) == 2


@pytest.mark.parametrize("client_id", ["a", "Shop_1.prod-eu", "0", "x" * 63])
async def test_a_clients_name_is_taken(world: World, client_id: str) -> None:
    assert (await world.keys.create(client_id, Role.CLIENT, UNLIMITED))[0].client_id == client_id


@pytest.mark.parametrize("client_id", ["", "-a", ".a", "a b", "a/b", "é", "x" * 64, "a\x00", "a\n"])
async def test_a_bad_clients_name_is_refused(world: World, client_id: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.keys.create(client_id, Role.CLIENT, UNLIMITED)

    assert [violation.path for violation in caught.value.violations] == ["client_id"]
    assert await world.store.keys() == []


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        (SubmissionLimits(max_priority=4), "max_priority"),
        (SubmissionLimits(max_priority=-1), "max_priority"),
        (SubmissionLimits(per_second=-1.0), "submissions_per_second"),
        (SubmissionLimits(per_second=0.0009), "submissions_per_second"),
        (SubmissionLimits(per_second=float("nan")), "submissions_per_second"),
        (SubmissionLimits(per_second=float("inf")), "submissions_per_second"),
        (SubmissionLimits(max_queued=-1), "max_queued_jobs"),
        (SubmissionLimits(max_queued=MAX_LIMIT + 1), "max_queued_jobs"),
    ],
)
async def test_a_limit_out_of_bounds_is_refused(world: World, limits: SubmissionLimits, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.keys.create("shop", Role.CLIENT, limits)

    assert [violation.path for violation in caught.value.violations] == [path]


async def test_a_rotated_key_keeps_its_id_and_gets_a_new_secret(world: World) -> None:
    key, old = await world.keys.create("shop", Role.CLIENT, UNLIMITED)

    rotated, new = await world.keys.rotate(key.key_id, None)

    assert rotated.key_id == key.key_id
    assert new != old
    assert world.keyring.authenticate(old) == world.keyring.authenticate(new)

    await world.keys.rotate(key.key_id, datetime.timedelta())
    for secret in (old, new):
        with pytest.raises(KeyInvalid):
            world.keyring.authenticate(secret)


@pytest.mark.parametrize("overlap", [-SECOND, MAX_OVERLAP + SECOND, datetime.timedelta.max])
async def test_an_overlap_out_of_bounds_is_refused(world: World, overlap: datetime.timedelta) -> None:
    key, secret = await world.keys.create("shop", Role.CLIENT, UNLIMITED)

    with pytest.raises(InvalidRequest):
        await world.keys.rotate(key.key_id, overlap)

    assert world.keyring.authenticate(secret).key_id == key.key_id


async def test_a_revoked_key_ends_at_once_and_cannot_be_rotated(world: World) -> None:
    key, secret = await world.keys.create("shop", Role.CLIENT, UNLIMITED)

    revoked = await world.keys.revoke(key.key_id)

    assert revoked.revoke_time is not None
    with pytest.raises(KeyInvalid):
        world.keyring.authenticate(secret)
    with pytest.raises(KeyIsRevoked):
        await world.keys.rotate(key.key_id, None)
    assert (await world.keys.revoke(key.key_id)).revoke_time == revoked.revoke_time


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(KeyNotFound):
        await world.keys.rotate("none", None)
    with pytest.raises(KeyNotFound):
        await world.keys.revoke("none")


async def test_a_key_that_is_stored_is_shown_even_if_the_keyring_cannot_look(world: World) -> None:
    original = world.store.keys

    async def away() -> Sequence[StoredKey]:
        raise StoreUnavailable("away")

    world.store.keys = away  # type: ignore[method-assign]  # for one call
    key, _ = await world.keys.create("shop", Role.CLIENT, UNLIMITED)
    world.store.keys = original  # type: ignore[method-assign]

    assert [found.key_id for found in await world.keys.all()] == [key.key_id]
    assert world.signals.announced == 1


@pytest.mark.parametrize(
    ("client_id", "role"), [("local", Role.ADMIN), ("local", Role.CLIENT), ("anonymous", Role.EXECUTOR)]
)
async def test_the_names_of_callers_without_a_key_are_not_given_away(world: World, client_id: str, role: Role) -> None:
    with pytest.raises(InvalidRequest):
        await world.keys.create(client_id, role, UNLIMITED)


async def test_a_key_of_a_client_may_open_the_jobs_of_the_time_before_keys(world: World) -> None:
    assert (await world.keys.create("anonymous", Role.CLIENT, UNLIMITED))[0].client_id == "anonymous"
