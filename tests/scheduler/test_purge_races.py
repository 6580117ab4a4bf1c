"""Purges on Postgres: nothing is left anywhere, whatever else happens at the same moment."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest
from stores import (
    CLIENT,
    IMAGE_REF,
    KEY,
    NEW_IMAGE,
    claim,
    insert,
    lost,
    new_job,
    record,
    see,
    submit,
    submit_alike,
    success,
)
from test_locked_rows import Other, of_yesterday

from runtime.clock import SystemClock
from scheduler.errors import ImagesMissing, StoreUnavailable
from scheduler.jobs import AttemptOutcome, ImageRef, JobError, JobState, NewImage
from scheduler.postgres import purging
from scheduler.postgres.database import Database
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.postgres.tables import metadata
from scheduler.records import AttemptId, FinalRecord, Purged, UsageQuery

USER = "user"
OTHER = "another"
MARK = "sesame-8f2a1c"
WITH_IMAGE: dict[str, Any] = {"images": (IMAGE_REF,)}


class HookedPool:
    """Lends the connections of a store; calls `before` with each statement."""

    def __init__(self, store: PostgresStore, before: Callable[[str], Awaitable[None]]) -> None:
        self._database = store.database
        self._before = before

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Any]:
        del timeout
        async with self._database.reserved() as connection:
            yield _HookedConnection(connection, self._before)


class _HookedConnection:
    def __init__(self, connection: asyncpg.Connection, before: Callable[[str], Awaitable[None]]) -> None:
        self._connection = connection
        self._before = before

    def transaction(self) -> Any:
        return self._connection.transaction()

    async def fetch(self, statement: str, *parameters: Any) -> Any:
        await self._before(statement)
        return await self._connection.fetch(statement, *parameters)

    async def fetchval(self, statement: str, *parameters: Any) -> Any:
        await self._before(statement)
        return await self._connection.fetchval(statement, *parameters)

    async def execute(self, statement: str, *parameters: Any) -> Any:
        await self._before(statement)
        return await self._connection.execute(statement, *parameters)


def hooked(store: PostgresStore, before: Callable[[str], Awaitable[None]]) -> PostgresStore:
    pool = cast("Any", HookedPool(store, before))
    return PostgresStore(Database(pool, max_size=10, clock=SystemClock(), result_lifetime=timedelta(hours=1)))


def once(start: str, act: Callable[[], Awaitable[Any]]) -> Callable[[str], Awaitable[None]]:
    """Return what does something before the first statement that has this in it."""
    done: list[str] = []

    async def before(statement: str) -> None:
        if start in statement and not done:
            done.append(statement)
            await act()

    return before


async def find_mark(url: str) -> set[str]:
    """Return the tables that hold the mark in a text, in JSON or in bytes."""
    connection = await asyncpg.connect(url)
    found = set()
    try:
        for table in metadata.tables:
            rows = await connection.fetch(f"SELECT t::text AS row FROM {table} t")
            texts = [row["row"] for row in rows]
            if any(MARK in text or MARK.encode().hex() in text for text in texts):
                found.add(table)
    finally:
        await connection.close()
    return found


async def make_full_of_marks(store: PostgresStore) -> AttemptId:
    """Make jobs of every end whose content is the mark; return an attempt that may still be told of."""
    error = JobError(kind="BAD", message=f"The model said {MARK}", retryable=False)
    image = NewImage(ref=ImageRef(sha256="ab" * 32, mime_type="image/png", size=20), data=MARK.encode())
    content: dict[str, Any] = {
        "prompt": MARK,
        "system_instruction": MARK,
        "schema_json": f'{{"title": "{MARK}"}}',
        "labels": {MARK: MARK},
        "images": (image.ref,),
    }
    await store.put_images(CLIENT, [image])
    jobs = [new_job(store.time, dedup_key=KEY, **content), new_job(store.time, dedup_key=KEY, **content)]
    await insert(store, CLIENT, [*jobs, *(new_job(store.time, **content) for _ in range(3))])
    good, bad, stopped, gone = [job.attempt_id for job in await claim(store)]

    def told(attempt: AttemptId, outcome: AttemptOutcome) -> Any:
        known = record(attempt, store.time, outcome)
        return dataclasses.replace(known, raw_answer=MARK, output_path=MARK, error=error if known.error else None)

    succeeded = FinalRecord(
        record=told(good, AttemptOutcome.SUCCEEDED), state=JobState.SUCCEEDED, output_json=f'"{MARK}"'
    )
    failed = FinalRecord(record=told(bad, AttemptOutcome.FAILED), state=JobState.FAILED)
    await store.finish([succeeded, failed])
    back = dataclasses.replace(lost(gone, store.time), record=told(gone, AttemptOutcome.FAILED))
    await store.give_back([back])
    await store.cancel(CLIENT, [stopped.job_id, gone.job_id])
    return stopped


async def test_after_a_purge_no_table_holds_any_of_the_content(postgres_store: PostgresStore, store_url: str) -> None:
    stopped = await make_full_of_marks(postgres_store)
    assert await find_mark(store_url) == {"attempts", "images", "jobs", "results", "usage_daily"}

    assert await postgres_store.purge_user(CLIENT, USER) == Purged(jobs=5, results=2, images=1)

    assert await find_mark(store_url) == set()
    late = dataclasses.replace(record(stopped, postgres_store.time, AttemptOutcome.SUCCEEDED), raw_answer=MARK)
    await postgres_store.note_late([late])
    await postgres_store.finish([FinalRecord(record=late, state=JobState.SUCCEEDED, output_json=f'"{MARK}"')])
    assert await find_mark(store_url) == set()
    assert (await see(postgres_store, stopped.job_id)).attempts[0].outcome is AttemptOutcome.SUCCEEDED


async def test_a_late_record_that_waits_for_a_purge_brings_no_content_back(
    postgres_store: PostgresStore, store_url: str
) -> None:
    stopped = await make_full_of_marks(postgres_store)
    late = dataclasses.replace(record(stopped, postgres_store.time, AttemptOutcome.FAILED), raw_answer=MARK)

    async with Other(store_url) as other:
        await other.store.purge_user(CLIENT, USER)
        await other.meets(postgres_store.note_late([late]))

    assert await find_mark(store_url) == set()
    assert (await see(postgres_store, stopped.job_id)).attempts[0].outcome is AttemptOutcome.FAILED


async def test_a_purge_waits_for_a_late_record_and_removes_its_content(
    postgres_store: PostgresStore, store_url: str
) -> None:
    stopped = await make_full_of_marks(postgres_store)
    late = dataclasses.replace(record(stopped, postgres_store.time, AttemptOutcome.FAILED), raw_answer=MARK)

    async with Other(store_url) as other:
        await other.store.note_late([late])
        await other.meets(postgres_store.purge_user(CLIENT, USER))

    assert await find_mark(store_url) == set()


async def test_what_is_counted_during_purges_is_neither_lost_nor_counted_twice(
    postgres_store: PostgresStore, store_url: str
) -> None:
    labels = [{"team": name} for name in ("a", "b", "c")]
    await insert(postgres_store, CLIENT, [new_job(postgres_store.time, labels=labels[n % 3]) for n in range(60)])
    running = [job.attempt_id for job in await claim(postgres_store, 60)]

    async def finish(attempts: list[AttemptId]) -> None:
        for start in range(0, len(attempts), 3):
            batch = attempts[start : start + 3]
            await postgres_store.finish([success(attempt, postgres_store.time, cost_usd=0.5) for attempt in batch])

    async def purge(store: PostgresStore) -> None:
        for _ in range(8):
            await store.purge_user(CLIENT, USER)

    async with open_store(store_url, clock=SystemClock()) as second, asyncio.TaskGroup() as tasks:
        tasks.create_task(finish(running[:30]))
        tasks.create_task(finish(running[30:]))
        tasks.create_task(purge(postgres_store))
        tasks.create_task(purge(second))
    await postgres_store.purge_user(CLIENT, USER)

    today = postgres_store.time.now().date()
    query = UsageQuery(from_day=today - timedelta(days=1), to_day=today + timedelta(days=2), group_by=("label:team",))
    [row] = await postgres_store.usage(CLIENT, query, limit=10)
    assert (row.group, row.jobs, row.cost_usd) == ({"label:team": ""}, 60, 30.0)


async def test_two_purges_at_once_remove_everything_once(postgres_store: PostgresStore, store_url: str) -> None:
    await make_full_of_marks(postgres_store)

    async with Other(store_url) as other:
        first = await other.store.purge_user(CLIENT, USER)
        [second] = await other.meets(postgres_store.purge_user(CLIENT, USER))

    assert first + second == Purged(jobs=5, results=2, images=1)
    assert await find_mark(store_url) == set()


async def test_an_answer_under_way_from_a_purged_result_is_seen_and_kept(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await submit_alike(postgres_store, postgres_store.time, 2)
    [job] = await claim(postgres_store)
    await postgres_store.finish([success(job.attempt_id, postgres_store.time)])

    async with Other(store_url) as other:
        [accepted] = await other.store.insert_jobs(CLIENT, [new_job(other.store.time, dedup_key=KEY, user_id=OTHER)])
        assert accepted.is_cached
        await other.meets(postgres_store.purge_user(CLIENT, USER))

    answered = (await see(postgres_store, accepted.job_id)).result
    assert answered is not None
    assert answered.output_json == '{"a":1}'


async def test_a_request_that_waits_for_a_purge_is_not_answered_from_what_it_removed(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await submit_alike(postgres_store, postgres_store.time, 2)
    [job] = await claim(postgres_store)
    await postgres_store.finish([success(job.attempt_id, postgres_store.time)])

    async with Other(store_url) as other:
        await other.store.purge_user(CLIENT, USER)
        again = new_job(postgres_store.time, dedup_key=KEY, user_id=OTHER)
        [[accepted]] = await other.meets(postgres_store.insert_jobs(CLIENT, [again]))

    assert (accepted.is_cached, accepted.leader) == (False, None)
    assert [job.attempt_id.job_id for job in await claim(postgres_store)] == [again.job_id]


async def test_thousands_share_a_result_that_is_handed_on_in_bites(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "_POINT_TO_HEIRS", purging._POINT_TO_HEIRS.replace("5000", "2"))
    job_ids = await submit_alike(postgres_store, postgres_store.time, 2)
    job_ids += await submit_alike(postgres_store, postgres_store.time, *[2] * 7, user_id=OTHER)
    [job] = await claim(postgres_store)
    await postgres_store.finish([success(job.attempt_id, postgres_store.time)])
    before = [await see(postgres_store, job_id) for job_id in job_ids[1:]]

    assert await postgres_store.purge_user(CLIENT, USER) == Purged(jobs=1, results=1)

    assert [await see(postgres_store, job_id) for job_id in job_ids[1:]] == before
    assert await postgres_store.purge_user(CLIENT, OTHER) == Purged(jobs=7, results=7)


async def purge_with_image(store: PostgresStore, before: Callable[[str], Awaitable[None]]) -> Purged:
    """Purge a user with one finished job and its image."""
    await store.put_images(CLIENT, [NEW_IMAGE])
    await insert(store, CLIENT, [new_job(store.time, **WITH_IMAGE)])
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, store.time)])
    return await hooked(store, before).purge_user(CLIENT, USER)


async def is_kept(store: PostgresStore) -> bool:
    return IMAGE_REF.sha256 in await store.get_images(CLIENT, [IMAGE_REF.sha256])


async def test_a_job_that_is_being_stored_keeps_its_image(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    [job_id] = await insert(postgres_store, CLIENT, [new_job(postgres_store.time, **WITH_IMAGE)])
    await postgres_store.cancel(CLIENT, [job_id])

    async with Other(store_url) as other:
        await insert(other.store, CLIENT, [new_job(other.store.time, user_id=OTHER, **WITH_IMAGE)])
        [told] = await other.meets(postgres_store.purge_user(CLIENT, USER))

    assert told == Purged(jobs=1, kept_images=frozenset({IMAGE_REF.sha256}))
    assert await is_kept(postgres_store)


@pytest.mark.parametrize("moment", ["FROM queue WHERE job_id >", "DELETE FROM images"])
async def test_a_job_that_is_stored_while_a_purge_looks_for_such_jobs_keeps_its_image(
    postgres_store: PostgresStore, moment: str
) -> None:
    job = new_job(postgres_store.time, user_id=OTHER, **WITH_IMAGE)

    told = await purge_with_image(postgres_store, once(moment, lambda: insert(postgres_store, CLIENT, [job])))

    assert told.kept_images == {IMAGE_REF.sha256}
    assert await is_kept(postgres_store)


@pytest.mark.parametrize("method", ["put_images", "find_images"])
async def test_an_image_that_is_sent_or_named_during_a_purge_is_kept(
    postgres_store: PostgresStore, method: str
) -> None:
    argument = {"put_images": [NEW_IMAGE], "find_images": [IMAGE_REF.sha256]}[method]
    ask = once("DELETE FROM images", lambda: getattr(postgres_store, method)(CLIENT, argument))

    told = await purge_with_image(postgres_store, ask)

    assert told.kept_images == {IMAGE_REF.sha256}
    assert await is_kept(postgres_store)


async def test_a_job_whose_image_a_purge_removes_meanwhile_is_refused(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    [job_id] = await insert(postgres_store, CLIENT, [new_job(postgres_store.time, **WITH_IMAGE)])
    await postgres_store.cancel(CLIENT, [job_id])
    job = new_job(postgres_store.time, user_id=OTHER, request_id="r", **WITH_IMAGE)

    async with Other(store_url) as other:
        await other.store.purge_user(CLIENT, USER)
        with pytest.raises(ImagesMissing):
            await other.meets(postgres_store.insert_jobs(CLIENT, [job]))

    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    assert await insert(postgres_store, CLIENT, [job]) == [job.job_id]


async def test_an_image_that_another_purge_has_marked_since_is_left_to_that_one(postgres_store: PostgresStore) -> None:
    has_marked, may_go_on = asyncio.Event(), asyncio.Event()
    second: list[asyncio.Task[Purged]] = []

    async def wait() -> None:
        has_marked.set()
        await may_go_on.wait()

    async def begin_another() -> None:
        """Store a job that needs the image, which the first purge does not see, and mark the image anew."""
        jobs = [new_job(postgres_store.time, user_id=user, **WITH_IMAGE) for user in (OTHER, "third")]
        await insert(postgres_store, CLIENT, jobs)
        await postgres_store.cancel(CLIENT, [jobs[0].job_id])
        another = hooked(postgres_store, once("FROM queue WHERE job_id >", wait))
        second.append(asyncio.ensure_future(another.purge_user(CLIENT, OTHER)))
        await has_marked.wait()

    first = await purge_with_image(postgres_store, once("DELETE FROM images", begin_another))
    may_go_on.set()

    kept = frozenset({IMAGE_REF.sha256})
    assert first == Purged(jobs=1, results=1, kept_images=kept)
    assert await second[0] == Purged(jobs=1, kept_images=kept)
    assert await is_kept(postgres_store)


@pytest.mark.parametrize(
    "moment", ["DELETE FROM images", "UPDATE attempts", "UPDATE results", "UPDATE jobs", "pg_advisory_xact_lock"]
)
async def test_a_purge_that_fails_in_the_middle_goes_on_when_it_is_called_again(
    postgres_store: PostgresStore, store_url: str, moment: str
) -> None:
    await make_full_of_marks(postgres_store)

    async def fail() -> None:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await hooked(postgres_store, once(moment, fail)).purge_user(CLIENT, USER)
    assert (await postgres_store.purge_user(CLIENT, USER)).jobs == 5

    assert await find_mark(store_url) == set()


async def test_many_jobs_of_several_days_are_purged_in_bites(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "_JOBS_AT_ONCE", 250)
    monkeypatch.setattr(purging, "_BITE", 70)
    jobs = [new_job(postgres_store.time) for _ in range(450)]
    jobs = [of_yesterday(job) if place % 2 else job for place, job in enumerate(jobs)]
    await insert(postgres_store, CLIENT, jobs)
    await submit(postgres_store, postgres_store.time)
    await postgres_store.cancel(CLIENT, [job.job_id for job in jobs])

    assert await postgres_store.purge_user(CLIENT, USER) == Purged(jobs=450)

    seen = await postgres_store.get_jobs(CLIENT, [job.job_id for job in jobs], attempts=False)
    assert all(job.purged for job in seen.values())
    assert await postgres_store.purge_user(CLIENT, USER) == Purged()
