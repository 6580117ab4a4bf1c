"""The first keys of an installation: one of a role, in a file before it works."""

import asyncio
import datetime
import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.settings import load
from scheduler import first_key_wiring
from scheduler.callers import Role, StoredKey
from scheduler.errors import InvalidRequest, StoreUnavailable
from scheduler.first_key import FirstKey, KeyExists, Wanted
from scheduler.keys import hashed
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import Change
from scheduler.settings import SchedulerSettings

COMMAND = Path(sys.executable).parent / "visionjobs-scheduler"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


async def bootstrap_key(url: str, *arguments: str) -> Ran:
    """Run the command."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "bootstrap-key",
        *arguments,
        env=os.environ | {"SCHEDULER_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


def first_key(store: PostgresStore, role: Role = Role.ADMIN, *, again: bool = False) -> FirstKey:
    wanted = Wanted(role=role, client_id=role.name.lower(), again=again)
    return FirstKey(store=store, time=store.time, randomness=SystemRandomness(), wanted=wanted)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "api-key"


async def test_the_command_prints_the_key_that_it_made_alone(store_url: str) -> None:
    ran = await bootstrap_key(store_url)

    assert (ran.status, ran.err) == (0, "")
    async with open_store(store_url, clock=SystemClock()) as store:
        [stored] = await store.keys()
    assert ran.out.startswith(f"vj_{stored.key.key_id}_")
    assert hashed(ran.out.removesuffix("\n")) == stored.secret_hash
    assert (stored.key.role, stored.key.client_id) == (Role.ADMIN, "admin")


async def test_the_command_refuses_a_second_key_of_a_role_unless_told_otherwise(store_url: str) -> None:
    await bootstrap_key(store_url)

    refused = await bootstrap_key(store_url)
    content = await bootstrap_key(store_url, "--if-none")
    another = await bootstrap_key(store_url, "--again", "--client", "second")

    assert (refused.status, refused.out) == (1, "")
    assert refused.err == "A key with the role admin works already; --again makes another one.\n"
    assert (content.status, content.out) == (0, "a key with the role admin works already\n")
    assert another.out.startswith("vj_")
    async with open_store(store_url, clock=SystemClock()) as store:
        assert {stored.key.client_id for stored in await store.keys()} == {"admin", "second"}


async def test_the_command_writes_the_key_to_a_file_and_never_shows_it(store_url: str, file: Path) -> None:
    made = await bootstrap_key(store_url, "--role", "executor", "--write-to", str(file))
    kept = await bootstrap_key(store_url, "--role", "executor", "--write-to", str(file))

    secret = file.read_text()
    async with open_store(store_url, clock=SystemClock()) as store:
        [stored] = await store.keys()
    assert hashed(secret.strip()) == stored.secret_hash
    assert stored.key.role is Role.EXECUTOR
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (made.status, made.out) == (0, f"wrote the key {stored.key.key_id} to {file}\n")
    assert (kept.status, kept.out) == (0, f"the key in {file} works\n")
    assert secret.strip() not in made.out + made.err + kept.out + kept.err


async def test_runs_at_once_agree_on_one_key(store_url: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_DATABASE_URL", store_url)
    settings = load(SchedulerSettings)
    wanted = Wanted(role=Role.ADMIN, client_id="admin")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(asyncio.to_thread(first_key_wiring.make, settings, wanted, file))

    async with open_store(store_url, clock=SystemClock()) as store:
        [stored] = await store.keys()
    assert hashed(file.read_text().strip()) == stored.secret_hash


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--client", "no spaces"], "client_id: must be 1 to 63 letters"),
        (["--write-to", "/nowhere/api-key"], "No such file or directory: '/nowhere'"),
    ],
)
async def test_the_command_says_in_a_sentence_what_is_wrong(
    store_url: str, arguments: list[str], sentence: str
) -> None:
    ran = await bootstrap_key(store_url, *arguments)

    assert (ran.status, ran.out) == (1, "")
    assert sentence in ran.err
    assert "Traceback" not in ran.err


async def test_a_key_of_one_role_says_nothing_of_the_others(postgres_store: PostgresStore) -> None:
    await first_key(postgres_store, Role.EXECUTOR).make()
    await first_key(postgres_store, Role.ADMIN).make()

    assert {stored.key.role for stored in await postgres_store.keys()} == {Role.EXECUTOR, Role.ADMIN}


async def test_a_key_is_on_record_with_how_its_making_went(postgres_store: PostgresStore) -> None:
    await first_key(postgres_store).make()
    with pytest.raises(KeyExists):
        await first_key(postgres_store).make()

    refused, made = await postgres_store.audit_entries(before=None, limit=10)
    [stored] = await postgres_store.keys()
    assert (made.change.key_id, made.change.client_id, made.change.method) == ("", "local", "bootstrap-key")
    assert json.loads(made.change.request) == {"key_id": stored.key.key_id, "client_id": "admin", "role": "ADMIN"}
    assert (made.outcome, refused.outcome) == ("OK", "ALREADY_EXISTS")


async def test_nothing_is_on_record_when_the_key_in_the_file_works(postgres_store: PostgresStore, file: Path) -> None:
    await first_key(postgres_store).write_to(file)
    await first_key(postgres_store).write_to(file)
    await first_key(postgres_store, again=True).write_to(file)

    assert len(await postgres_store.audit_entries(before=None, limit=10)) == 1


async def test_the_key_is_in_the_file_before_it_works(store_url: str, file: Path) -> None:
    class Crashing(PostgresStore):
        async def add_first_key(self, key: StoredKey) -> bool:
            assert hashed(file.read_text().strip()) == key.secret_hash
            raise StoreUnavailable("gone")

    async with open_store(store_url, clock=SystemClock()) as store:
        with pytest.raises(StoreUnavailable):
            await first_key(Crashing(store.database)).write_to(file)
        lost = file.read_text()

        made = await first_key(store).write_to(file)

        assert made is not None
        assert file.read_text() != lost
        assert [stored.key.key_id for stored in await store.keys()] == [made.key_id]


async def test_a_key_that_another_machine_made_first_leaves_no_useless_one(store_url: str, file: Path) -> None:
    class Slow(PostgresStore):
        async def begin_audit(self, change: Change) -> int:
            if change.client_id == "local" and not await self.keys():
                await first_key(PostgresStore(self.database)).make()
            return await super().begin_audit(change)

    async with open_store(store_url, clock=SystemClock()) as store:
        with pytest.raises(KeyExists):
            await first_key(Slow(store.database)).write_to(file)
        assert not file.exists()
        assert len(await store.keys()) == 1


async def test_a_revoked_key_is_replaced_where_another_one_may_be_made(
    postgres_store: PostgresStore, file: Path
) -> None:
    revoked = await first_key(postgres_store, Role.EXECUTOR).write_to(file)
    assert revoked is not None
    await postgres_store.revoke_key(revoked.key_id)

    made = await first_key(postgres_store, Role.EXECUTOR).write_to(file)

    assert made is not None
    stored = {each.key.key_id: each for each in await postgres_store.keys()}
    assert hashed(file.read_text().strip()) == stored[made.key_id].secret_hash


async def test_a_file_without_the_key_gets_another_one_only_if_told_so(
    postgres_store: PostgresStore, file: Path
) -> None:
    await first_key(postgres_store).make()

    with pytest.raises(KeyExists):
        await first_key(postgres_store).write_to(file)
    assert not file.exists()

    made = await first_key(postgres_store, again=True).write_to(file)
    assert made is not None
    assert len(await postgres_store.keys()) == 2


async def test_a_key_of_another_role_in_the_file_does_not_count(postgres_store: PostgresStore, file: Path) -> None:
    admin = await first_key(postgres_store, Role.ADMIN).write_to(file)
    executor = await first_key(postgres_store, Role.EXECUTOR).write_to(file)

    assert admin is not None
    assert executor is not None
    stored = {each.key.key_id: each for each in await postgres_store.keys()}
    assert hashed(file.read_text().strip()) == stored[executor.key_id].secret_hash


@pytest.mark.parametrize(("overlap", "works"), [(3600, True), (0, False)])
async def test_the_old_secret_in_the_file_works_as_long_as_the_rotation_says(
    postgres_store: PostgresStore, file: Path, overlap: int, works: bool
) -> None:
    made = await first_key(postgres_store).write_to(file)
    assert made is not None
    await postgres_store.rotate_key(made.key_id, hashed("another"), datetime.timedelta(seconds=overlap))

    if works:
        assert await first_key(postgres_store).write_to(file) is None
    else:
        with pytest.raises(KeyExists):
            await first_key(postgres_store).write_to(file)


async def test_a_client_without_a_proper_name_gets_no_key(postgres_store: PostgresStore) -> None:
    wanted = Wanted(role=Role.ADMIN, client_id="")
    nameless = FirstKey(store=postgres_store, time=postgres_store.time, randomness=SystemRandomness(), wanted=wanted)

    with pytest.raises(InvalidRequest, match="client_id"):
        await nameless.make()
    assert await postgres_store.keys() == []
