"""Images that nobody needs any more are removed; those that a job needs are not, whatever happens at the same moment."""

import asyncio
import dataclasses
import random
import uuid
from datetime import timedelta

import asyncpg
import pytest
from stores import CLIENT, IMAGE_REF, NEW_IMAGE, claim, connect, insert, new_job, record, see, success
from test_locked_rows import Other
from test_purge_races import hooked, once

from scheduler.errors import ImagesMissing, StoreUnavailable
from scheduler.image_header import ImageLimits
from scheduler.jobs import AttemptOutcome, ImageRef, JobState, NewImage, NewJob, PostProcess
from scheduler.ports import Store
from scheduler.postgres import collecting
from scheduler.postgres.images import ImageKeeping
from scheduler.postgres.store import PostgresStore
from scheduler.records import AdvanceRecord

HASHES = [IMAGE_REF.sha256]
HOUR = timedelta(hours=1)


def image(number: int, size: int = 10) -> NewImage:
    ref = ImageRef(sha256=f"{number:064x}", mime_type="image/png", size=size)
    return NewImage(ref=ref, data=bytes(size))


def older(job: NewJob, by: timedelta) -> NewJob:
    """Return the job as if it had been made that much earlier."""
    moved = uuid.UUID(int=uuid.UUID(job.job_id).int - (by // timedelta(milliseconds=1) << 80))
    return dataclasses.replace(job, job_id=str(moved), create_time=job.create_time - by)


async def age_images(url: str, by: timedelta) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE images SET expire_time = expire_time - $1::interval", by)
    finally:
        await connection.close()


async def collect(store: Store) -> int:
    expired_before = await store.renew_images()
    assert expired_before is not None
    return await store.collect_images(expired_before)


async def is_kept(store: Store) -> bool:
    return IMAGE_REF.sha256 in await store.get_images(CLIENT, HASHES)


async def test_an_image_is_kept_for_a_day_after_it_was_sent(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 23 * HOUR)
    assert await collect(postgres_store) == 0
    assert await is_kept(postgres_store)

    await age_images(store_url, 2 * HOUR)
    assert await collect(postgres_store) == 1
    assert not await is_kept(postgres_store)


@pytest.mark.parametrize("method", ["put_images", "find_images"])
async def test_who_sends_or_names_an_image_lets_it_live_for_another_day(
    postgres_store: PostgresStore, store_url: str, method: str
) -> None:
    argument = {"put_images": [NEW_IMAGE], "find_images": HASHES}[method]
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 25 * HOUR)

    await getattr(postgres_store, method)(CLIENT, argument)

    assert await collect(postgres_store) == 0
    await age_images(store_url, 23 * HOUR)
    assert await collect(postgres_store) == 0


async def test_a_longer_lifetime_is_kept_to(postgres_store: PostgresStore, store_url: str) -> None:
    postgres_store._keep_images(ImageKeeping(lifetime=48 * HOUR))
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])

    await age_images(store_url, 47 * HOUR)
    assert await collect(postgres_store) == 0
    await age_images(store_url, 2 * HOUR)
    assert await collect(postgres_store) == 1


@pytest.mark.parametrize("state", ["waits", "runs", "scheduled", "follows"])
async def test_the_image_of_an_unfinished_job_is_kept_however_old_it_is(
    postgres_store: PostgresStore, store_url: str, state: str
) -> None:
    store = postgres_store
    await store.put_images(CLIENT, [NEW_IMAGE])
    due = store.time.now() + timedelta(days=30) if state == "scheduled" else None
    job = older(new_job(store.time, images=(IMAGE_REF,), schedule_time=due), 13 * HOUR)
    if state == "follows":
        await insert(store, CLIENT, [dataclasses.replace(new_job(store.time), dedup_key=b"key")])
        job = dataclasses.replace(job, dedup_key=b"key")
    await insert(store, CLIENT, [job])
    if state == "runs":
        assert len(await claim(store)) == 1
    seen = await see(store, job.job_id)
    assert (seen.leader is not None) == (state == "follows")

    for _ in range(5):
        await age_images(store_url, 11 * HOUR)
        assert await collect(store) == 0
    assert await is_kept(store)

    await store.cancel(CLIENT, [job.job_id])
    await age_images(store_url, 25 * HOUR)
    assert await collect(store) == 1


async def test_the_image_of_a_young_job_needs_no_look(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await insert(postgres_store, CLIENT, [older(new_job(postgres_store.time, images=(IMAGE_REF,)), 11 * HOUR)])
    await age_images(store_url, 11 * HOUR)

    assert await collect(postgres_store) == 0
    assert await is_kept(postgres_store)


async def test_a_job_in_its_second_step_holds_no_image(postgres_store: PostgresStore, store_url: str) -> None:
    store = postgres_store
    post = PostProcess(model="deepseek-v4-flash", prompt="p", schema_json="{}", schema_is_struct=False)
    await store.put_images(CLIENT, [NEW_IMAGE])
    job = older(new_job(store.time, images=(IMAGE_REF,), post_process=post), 13 * HOUR)
    await insert(store, CLIENT, [job])
    [claimed] = await claim(store)
    await store.advance(
        [AdvanceRecord(record=record(claimed.attempt_id, store.time, AttemptOutcome.SUCCEEDED), output_json="{}")]
    )
    await age_images(store_url, 25 * HOUR)

    assert await collect(store) == 1
    assert (await see(store, job.job_id)).step == 2


async def test_images_with_a_uri_are_no_concern_of_it(postgres_store: PostgresStore) -> None:
    linked = ImageRef(sha256="", mime_type="", size=0, uri="https://images.example/1.png")
    job = older(new_job(postgres_store.time, images=(linked,)), 13 * HOUR)

    assert await insert(postgres_store, CLIENT, [job]) == [job.job_id]
    assert await collect(postgres_store) == 0


async def test_thousands_of_jobs_and_images_are_looked_at_page_by_page(
    postgres_store: PostgresStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST_ROWS", 7)
    monkeypatch.setattr(collecting, "_OLD_JOBS", collecting._OLD_JOBS.replace("200", "3"))
    images = [image(number) for number in range(40)]
    await postgres_store.put_images(CLIENT, images)
    jobs = [older(new_job(postgres_store.time, images=(each.ref,)), 13 * HOUR) for each in images[:20]]
    await insert(postgres_store, CLIENT, jobs)
    await age_images(store_url, 24 * HOUR + timedelta(minutes=1))

    assert await collect(postgres_store) == 20

    kept = await postgres_store.find_images(CLIENT, [each.ref.sha256 for each in images])
    assert kept.keys() == {each.ref.sha256 for each in images[:20]}


async def test_large_images_are_removed_a_few_at_a_time(postgres_store: PostgresStore, store_url: str) -> None:
    largest = ImageLimits().max_bytes
    for number in range(3):
        await postgres_store.put_images(CLIENT, [image(number, largest)])
    await age_images(store_url, 25 * HOUR)
    statements: list[str] = []

    async def note(statement: str) -> None:
        statements.append(statement)

    assert await collect(hooked(postgres_store, note)) == 3
    assert len([each for each in statements if "DELETE FROM images" in each]) == 3


async def test_what_is_locked_is_left_to_the_next_time(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 25 * HOUR)

    async with Other(store_url) as other:
        await other.store.find_images(CLIENT, HASHES)
        assert await collect(postgres_store) == 0

    # The other one has not committed.
    assert await collect(postgres_store) == 1


@pytest.mark.parametrize("moment", ["DELETE FROM images", "WHERE expire_time < $1 ORDER BY"])
async def test_an_image_that_is_named_at_the_last_moment_is_kept(
    postgres_store: PostgresStore, store_url: str, moment: str
) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 25 * HOUR)
    name = once(moment, lambda: postgres_store.find_images(CLIENT, HASHES))

    assert await collect(hooked(postgres_store, name)) == 0
    assert await is_kept(postgres_store)


async def test_a_job_that_is_being_stored_keeps_its_image(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 25 * HOUR)

    async with Other(store_url) as other:
        await insert(other.store, CLIENT, [new_job(other.store.time, images=(IMAGE_REF,))])
        assert await collect(postgres_store) == 0
        await other._transaction.commit()

    # It took a day from the naming of the image to the storing of the job: that helps the image.
    assert await collect(postgres_store) == 0
    assert await is_kept(postgres_store)


async def test_a_job_whose_image_is_collected_meanwhile_is_refused(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    await age_images(store_url, 25 * HOUR)
    job = new_job(postgres_store.time, images=(IMAGE_REF,))

    async with Other(store_url) as other:
        assert await other.store.collect_images(other.store.time.now()) == 1
        with pytest.raises(ImagesMissing):
            await other.meets(postgres_store.insert_jobs(CLIENT, [job]))

    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    assert await insert(postgres_store, CLIENT, [job]) == [job.job_id]


async def test_a_job_that_grows_old_during_a_collection_keeps_its_image(
    postgres_store: PostgresStore, store_url: str
) -> None:
    await postgres_store.put_images(CLIENT, [NEW_IMAGE])
    expired_before = await postgres_store.renew_images()
    assert expired_before is not None
    # The look took so long that its image would have expired.
    await insert(postgres_store, CLIENT, [older(new_job(postgres_store.time, images=(IMAGE_REF,)), 23 * HOUR)])
    await age_images(store_url, 23 * HOUR + timedelta(minutes=59))

    assert await postgres_store.collect_images(expired_before) == 0


async def test_a_scheduler_that_finds_another_one_at_it_leaves_it_alone(
    postgres_store: PostgresStore, store_url: str
) -> None:
    async with Other(store_url) as other:
        assert await other.store.renew_images() is not None
        assert await postgres_store.renew_images() is None

    assert await postgres_store.renew_images() is not None


async def test_a_purge_mark_outlives_a_renewal(postgres_store: PostgresStore, store_url: str) -> None:
    store = postgres_store
    await store.put_images(CLIENT, [NEW_IMAGE])
    [gone, running] = [older(new_job(store.time, images=(IMAGE_REF,)), 13 * HOUR) for _ in range(2)]
    await insert(store, CLIENT, [gone, running])
    await store.cancel(CLIENT, [gone.job_id])
    await age_images(store_url, 20 * HOUR)

    async def renew() -> None:
        assert await store.renew_images() is not None

    told = await hooked(store, once("DELETE FROM images", renew)).purge_user(CLIENT, "user")

    # Of a job of the same user that was not cancelled, a purge removes the images.
    assert told.images == 1
    assert not await is_kept(store)


class Storm:
    """Images are always about to expire, and everything happens at random."""

    def __init__(self, store: PostgresStore, url: str) -> None:
        self._store = store
        self._url = url
        self._dice = random.Random(7)
        self._images = [image(number) for number in range(12)]
        self._over = asyncio.Event()
        self.accepted: set[str] = set()

    async def blow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            rest = [tasks.create_task(call()) for call in (self._end, self._expire, self._purge)]
            await asyncio.wait([tasks.create_task(self._submit(user)) for user in ("user", "leaver", "another")])
            self._over.set()
            await asyncio.wait(rest)

    async def _submit(self, user: str) -> None:
        for _ in range(40):
            chosen = self._dice.sample(self._images, 3)
            job = new_job(self._store.time, user_id=user, images=tuple(each.ref for each in chosen))
            try:
                known = await self._store.find_images(CLIENT, [each.ref.sha256 for each in chosen])
                await self._store.put_images(CLIENT, [each for each in chosen if each.ref.sha256 not in known])
                await insert(self._store, CLIENT, [job])
            except (ImagesMissing, StoreUnavailable):
                continue
            self.accepted.add(job.job_id)

    async def _end(self) -> None:
        while not self._over.is_set():
            for job in await claim(self._store, 1):
                await self._store.finish([success(job.attempt_id, self._store.time)])

    async def _expire(self) -> None:
        while not self._over.is_set():
            await age_images(self._url, 25 * HOUR)
            expired_before = await self._store.renew_images()
            if expired_before is not None:
                await self._store.collect_images(expired_before)

    async def _purge(self) -> None:
        while not self._over.is_set():
            await self._store.purge_user(CLIENT, "leaver")


async def test_collections_purges_and_submissions_at_once_never_leave_a_job_without_its_image(
    postgres_store: PostgresStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if half a day were nothing: every job that waits is looked at.
    monkeypatch.setattr(collecting, "_OLD", -HOUR)
    await connect(postgres_store)
    storm = Storm(postgres_store, store_url)

    await storm.blow()

    seen = await postgres_store.get_jobs(CLIENT, storm.accepted, attempts=False)
    # A purge removes the images of its user's unfinished jobs, too.
    unfinished = [job for job in seen.values() if job.state is JobState.QUEUED and job.spec.user_id != "leaver"]
    assert unfinished
    needed = {each.sha256 for job in unfinished for each in job.spec.images}
    assert needed <= (await postgres_store.find_images(CLIENT, needed)).keys()
