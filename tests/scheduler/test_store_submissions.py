"""Conformance of the stores: what is taken in, and what is read back."""

import asyncio
import dataclasses

import pytest
from stores import CLIENT, IMAGE, IMAGE_REF, NEW_IMAGE, claim, new_job, submit, success

from scheduler.errors import RequestIdReused
from scheduler.jobs import JobState
from scheduler.ports import JobQuery, Store, StoreClock

ALL = JobQuery(labels={})


async def listed(store: Store, query: JobQuery = ALL, *, before: str | None = None, limit: int = 100) -> list[str]:
    jobs = await store.list_jobs(CLIENT, query, before=before, limit=limit, attempts=False)
    return [job.job_id for job in jobs]


async def test_a_job_is_read_back_as_it_was_submitted(store: Store, time: StoreClock) -> None:
    job = new_job(
        time, prompt='naïve ☕ \\ "quoted"', labels={"a": "1"}, schema_json='{"type": "object", "b": 1, "a": 2}'
    )

    assert await store.insert_jobs(CLIENT, [job]) == [job.job_id]
    read = (await store.get_jobs(CLIENT, [job.job_id], attempts=True))[job.job_id]

    assert read.spec == job.spec
    assert (read.state, read.attempt, read.attempts) == (JobState.QUEUED, 0, ())
    assert (read.client_id, read.traceparent) == (CLIENT, job.traceparent)
    assert read.create_time == job.create_time


async def test_the_same_request_id_is_the_same_job(store: Store, time: StoreClock) -> None:
    first, again = new_job(time, request_id="r"), new_job(time, request_id="r")

    assert await store.insert_jobs(CLIENT, [first]) == [first.job_id]
    assert await store.insert_jobs(CLIENT, [again]) == [first.job_id]
    assert await listed(store) == [first.job_id]


async def test_a_request_id_with_another_spec_stores_nothing(store: Store, time: StoreClock) -> None:
    first = new_job(time, request_id="r")
    await store.insert_jobs(CLIENT, [first])

    with pytest.raises(RequestIdReused) as refused:
        await store.insert_jobs(CLIENT, [new_job(time), new_job(time, request_id="r", spec_hash=b"other")])

    assert refused.value.job_id == first.job_id
    assert await listed(store) == [first.job_id]


async def test_repeated_ids_of_a_batch_collapse(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time, request_id="r"), new_job(time), new_job(time, request_id="r")]

    ids = await store.insert_jobs(CLIENT, jobs)

    assert ids == [jobs[0].job_id, jobs[1].job_id, jobs[0].job_id]
    assert sorted(await listed(store)) == sorted(set(ids))


async def test_a_batch_that_contradicts_itself_stores_nothing(store: Store, time: StoreClock) -> None:
    with pytest.raises(RequestIdReused):
        await store.insert_jobs(
            CLIENT, [new_job(time, request_id="r"), new_job(time, request_id="r", spec_hash=b"other")]
        )

    assert await listed(store) == []


async def test_another_clients_request_id_is_another_one(store: Store, time: StoreClock) -> None:
    mine, theirs = new_job(time, request_id="r"), new_job(time, request_id="r", spec_hash=b"other")

    assert await store.insert_jobs(CLIENT, [mine]) == [mine.job_id]
    assert await store.insert_jobs("other", [theirs]) == [theirs.job_id]


async def test_many_identical_submissions_at_once_make_one_job(store: Store, time: StoreClock) -> None:
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(store.insert_jobs(CLIENT, [new_job(time, request_id="r")])) for _ in range(20)]

    assert len({job_id for call in calls for job_id in call.result()}) == 1
    assert len(await listed(store)) == 1


async def test_images_belong_to_their_client(store: Store) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE, NEW_IMAGE])
    await store.put_images(CLIENT, [NEW_IMAGE])

    assert await store.find_images(CLIENT, [IMAGE_REF.sha256, "00" * 32]) == {IMAGE_REF.sha256: IMAGE_REF}
    assert await store.get_images(CLIENT, [IMAGE_REF.sha256]) == {IMAGE_REF.sha256: IMAGE}
    assert await store.find_images("other", [IMAGE_REF.sha256]) == {}
    assert await store.get_images("other", [IMAGE_REF.sha256]) == {}


async def test_an_image_is_handed_out_only_for_a_running_job_that_uses_it(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    assert await store.runs_with_image(job_id, IMAGE_REF.sha256) is None

    [job] = await claim(store)
    assert await store.runs_with_image(job_id, IMAGE_REF.sha256) == CLIENT
    assert await store.runs_with_image(job_id, "00" * 32) is None

    await store.finish([success(job.attempt_id, time)])
    assert await store.runs_with_image(job_id, IMAGE_REF.sha256) is None


async def test_lists_are_newest_first_and_go_on_before_an_id(store: Store, time: StoreClock) -> None:
    ids = await submit(store, time, 1, 3, 2, 2)

    assert await listed(store) == ids[::-1]
    assert await listed(store, limit=2) == ids[:1:-1]
    assert await listed(store, before=ids[2]) == ids[1::-1]


async def test_lists_filter_by_user_state_and_labels(store: Store, time: StoreClock) -> None:
    mine = new_job(time, user_id="me", labels={"a": "1", "b": "2"})
    other = new_job(time, labels={"a": "1"})
    await store.insert_jobs(CLIENT, [mine, other])
    [job] = await claim(store, 1)
    await store.finish([success(job.attempt_id, time)])

    def query(**changes: object) -> JobQuery:
        return dataclasses.replace(ALL, **changes)  # type: ignore[arg-type]

    assert await listed(store, query(user_id="me")) == [mine.job_id]
    assert await listed(store, query(states=frozenset({JobState.SUCCEEDED}))) == [mine.job_id]
    assert await listed(store, query(states=frozenset({JobState.QUEUED, JobState.RUNNING}))) == [other.job_id]
    assert await listed(store, query(labels={"a": "1"})) == [other.job_id, mine.job_id]
    assert await listed(store, query(labels={"a": "1", "b": "2"}, user_id="me")) == [mine.job_id]
    assert await listed(store, query(labels={"a": "2"})) == []


async def test_jobs_are_invisible_to_other_clients(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)

    assert await store.get_jobs("other", [job_id], attempts=True) == {}
    assert await store.list_jobs("other", ALL, before=None, limit=10, attempts=False) == []
