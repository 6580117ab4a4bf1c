"""Keys, signing secrets and the record of changes, alike on both stores."""

import asyncio
import dataclasses
import datetime

import pytest

from runtime.randomness import SystemRandomness
from scheduler.callers import ApiKey, Role, StoredKey, SubmissionLimits
from scheduler.errors import LastAdminKey
from scheduler.keys import hashed, new_key
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore
from scheduler.records import Change

LIMITS = SubmissionLimits(max_priority=2, per_second=1.5, max_queued=10)
CHANGE = Change(key_id="0123", client_id="ops", method="visionjobs.v1.AdminService/PauseLane", request='{"lane": "*"}')
HOUR = datetime.timedelta(hours=1)


def made(time: StoreClock, role: Role = Role.CLIENT, limits: SubmissionLimits = LIMITS) -> StoredKey:
    key, _ = new_key("backend", role, limits, now=time.now(), randomness=SystemRandomness())
    return key


async def add(store: Store, time: StoreClock, role: Role = Role.CLIENT) -> ApiKey:
    key = made(time, role)
    await store.add_key(key)
    return key.key


async def listed(store: Store, key_id: str) -> StoredKey:
    [found] = [stored for stored in await store.keys() if stored.key.key_id == key_id]
    return found


async def test_a_key_is_kept_whole_and_listed_newest_first(store: Store, time: StoreClock) -> None:
    older = made(time)
    newer = made(time, Role.ADMIN, SubmissionLimits())
    newer = dataclasses.replace(newer, key=dataclasses.replace(newer.key, create_time=older.key.create_time + HOUR))
    await store.add_key(older)
    await store.add_key(newer)

    assert await store.keys() == [newer, older]


async def test_the_first_key_of_a_role_is_stored_once(store: Store, time: StoreClock) -> None:
    await add(store, time, Role.EXECUTOR)

    assert await store.add_first_key(made(time, Role.ADMIN))
    assert not await store.add_first_key(made(time, Role.ADMIN))
    assert len(await store.keys()) == 2


async def test_of_many_first_keys_at_once_one_is_stored(store: Store, time: StoreClock) -> None:
    async with asyncio.TaskGroup() as tasks:
        stored = [tasks.create_task(store.add_first_key(made(time, Role.ADMIN))) for _ in range(6)]

    assert [task.result() for task in stored].count(True) == 1
    assert len(await store.keys()) == 1


async def test_a_revoked_key_is_no_first_key(store: Store, time: StoreClock) -> None:
    key = await add(store, time, Role.EXECUTOR)
    await store.revoke_key(key.key_id)

    assert await store.add_first_key(made(time, Role.EXECUTOR))


async def test_a_rotated_key_has_two_secrets_for_a_while(store: Store, time: StoreClock) -> None:
    key = made(time)
    await store.add_key(key)

    rotated = await store.rotate_key(key.key.key_id, hashed("new"), HOUR)

    assert rotated is not None
    assert rotated.old_secret_expire_time is not None
    assert abs(rotated.old_secret_expire_time - time.now() - HOUR) < datetime.timedelta(minutes=1)
    assert await listed(store, key.key.key_id) == StoredKey(
        key=rotated, secret_hash=hashed("new"), old_secret_hash=key.secret_hash
    )


async def test_a_key_that_does_not_exist_or_has_ended_is_not_rotated(store: Store, time: StoreClock) -> None:
    key = await add(store, time)
    await store.revoke_key(key.key_id)

    assert await store.rotate_key(key.key_id, hashed("new"), HOUR) is None
    assert await store.rotate_key("unknown", hashed("new"), HOUR) is None


async def test_a_revoked_key_keeps_its_time_and_loses_its_old_secret(store: Store, time: StoreClock) -> None:
    key = await add(store, time)
    await store.rotate_key(key.key_id, hashed("new"), HOUR)

    revoked = await store.revoke_key(key.key_id)

    assert revoked is not None
    assert revoked.revoke_time is not None
    stored = await listed(store, key.key_id)
    assert (stored.old_secret_hash, stored.key.old_secret_expire_time) == (None, None)
    assert await store.revoke_key(key.key_id) == revoked
    assert await store.revoke_key("unknown") is None


async def test_the_last_admin_key_is_not_revoked(store: Store, time: StoreClock) -> None:
    first = await add(store, time, Role.ADMIN)
    await add(store, time, Role.CLIENT)

    with pytest.raises(LastAdminKey):
        await store.revoke_key(first.key_id)

    second = await add(store, time, Role.ADMIN)
    assert await store.revoke_key(first.key_id)
    with pytest.raises(LastAdminKey):
        await store.revoke_key(second.key_id)
    # What has ended ends once more without a word.
    assert await store.revoke_key(first.key_id)


async def test_of_two_admin_keys_revoked_at_once_one_stays(store: Store, time: StoreClock) -> None:
    keys = [await add(store, time, Role.ADMIN) for _ in range(2)]

    async def revoke(key: ApiKey) -> bool:
        try:
            await store.revoke_key(key.key_id)
        except LastAdminKey:
            return False
        return True

    async with asyncio.TaskGroup() as tasks:
        revoked = [tasks.create_task(revoke(key)) for key in keys]

    assert sorted(task.result() for task in revoked) == [False, True]


async def test_the_latest_use_of_a_key_is_noted(store: Store, time: StoreClock) -> None:
    key = await add(store, time)
    now = time.now()

    await store.note_used({key.key_id: now, "unknown": now})
    await store.note_used({key.key_id: now - HOUR})

    assert (await listed(store, key.key_id)).key.last_used_time == now


async def test_a_signing_secret_is_made_once(store: Store) -> None:
    secret = await store.signing_secret("job-link")

    assert len(secret) >= 32
    assert await store.signing_secret("job-link") == secret
    assert await store.signing_secret("other") != secret


async def test_changes_stand_newest_first_with_their_outcomes(store: Store) -> None:
    first = await store.begin_audit(CHANGE)
    second = await store.begin_audit(dataclasses.replace(CHANGE, key_id="4567"))
    await store.end_audit(first, "OK")

    entries = await store.audit_entries(before=None, limit=10)

    assert [(entry.audit_id, entry.change.key_id, entry.outcome) for entry in entries] == [
        (second, "4567", ""),
        (first, "0123", "OK"),
    ]
    assert entries[1].change == CHANGE
    assert [entry.audit_id for entry in await store.audit_entries(before=second, limit=10)] == [first]
    assert [entry.audit_id for entry in await store.audit_entries(before=None, limit=1)] == [second]


async def test_no_secret_stands_in_the_database(postgres_store: PostgresStore) -> None:
    key, secret = new_key("backend", Role.CLIENT, LIMITS, now=postgres_store.time.now(), randomness=SystemRandomness())
    await postgres_store.add_key(key)

    async with postgres_store.database.reserved() as connection:
        row = await connection.fetchrow("SELECT * FROM api_keys")

    random_part = secret.rpartition("_")[2]
    shown = " ".join(value.hex() if isinstance(value, bytes) else str(value) for value in row.values())
    assert random_part not in shown
    assert random_part.encode().hex() not in shown
