"""Conformance of the stores: what is taken in, once."""

import asyncio
import dataclasses
import datetime

import pytest
from stores import (
    CLIENT,
    IMAGE,
    IMAGE_REF,
    NEW_IMAGE,
    Age,
    back,
    claim,
    executor,
    insert,
    new_job,
    see,
    success,
)

from scheduler.errors import RequestIdReused
from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import Accepted, JobQuery


async def stored(store: Store, client_id: str = CLIENT) -> list[str]:
    """Return the ids of all jobs of a client, in the order of submission."""
    jobs = await store.list_jobs(client_id, JobQuery(labels={}), before=None, limit=100, attempts=False)
    return [job.job_id for job in reversed(jobs)]


async def test_a_job_is_read_back_as_it_was_submitted(store: Store, time: StoreClock) -> None:
    job = new_job(
        time, prompt='naïve ☕ \\ "quoted"', labels={"a": "1"}, schema_json='{"type": "object", "b": 1, "a": 2}'
    )

    assert await insert(store, CLIENT, [job]) == [job.job_id]
    read = await see(store, job.job_id)

    assert read.spec == job.spec
    assert (read.state, read.attempt, read.retry_count, read.attempts) == (JobState.QUEUED, 0, 0, ())
    assert (read.stage, read.start_time, read.finish_time, read.executor_id) == (None, None, None, "")
    assert (read.client_id, read.traceparent) == (CLIENT, job.traceparent)
    assert read.create_time == job.create_time


async def test_the_same_request_id_is_the_same_job(store: Store, time: StoreClock) -> None:
    first, again = new_job(time, request_id="r"), new_job(time, request_id="r")

    assert await insert(store, CLIENT, [first]) == [first.job_id]
    assert await insert(store, CLIENT, [again]) == [first.job_id]
    assert await stored(store) == [first.job_id]


async def test_jobs_without_a_request_id_are_never_the_same(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time), new_job(time)]

    assert await insert(store, CLIENT, jobs) == [job.job_id for job in jobs]
    assert await stored(store) == [job.job_id for job in jobs]


async def test_a_request_id_of_a_job_that_ended_does_not_start_it_again(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, request_id="r")])
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, time)])

    assert await insert(store, CLIENT, [new_job(time, request_id="r")]) == [job_id]
    assert (await see(store, job_id)).state is JobState.SUCCEEDED
    assert await claim(store) == []


async def test_a_batch_stores_what_is_new_and_names_what_is_known(store: Store, time: StoreClock) -> None:
    known = new_job(time, request_id="known")
    await store.insert_jobs(CLIENT, [known])
    fresh, anonymous = new_job(time, request_id="fresh"), new_job(time)

    accepted = await store.insert_jobs(CLIENT, [fresh, new_job(time, request_id="known"), anonymous])

    assert accepted == [
        Accepted(job_id=fresh.job_id),
        Accepted(job_id=known.job_id, is_known=True),
        Accepted(job_id=anonymous.job_id),
    ]
    assert await stored(store) == [known.job_id, fresh.job_id, anonymous.job_id]


async def test_a_request_id_is_known_for_a_day(store: Store, time: StoreClock, age: Age) -> None:
    first = new_job(time, request_id="r")
    await store.insert_jobs(CLIENT, [first])

    await age(datetime.timedelta(hours=23))
    assert await insert(store, CLIENT, [new_job(time, request_id="r")]) == [first.job_id]
    await age(datetime.timedelta(hours=2))
    second = new_job(time, request_id="r", spec_hash=b"other")
    assert await insert(store, CLIENT, [second]) == [second.job_id]
    await age(datetime.timedelta(hours=23))
    assert await insert(store, CLIENT, [new_job(time, request_id="r", spec_hash=b"other")]) == [second.job_id]

    assert await stored(store) == [first.job_id, second.job_id]


async def test_a_request_id_with_another_spec_stores_nothing(store: Store, time: StoreClock) -> None:
    first = new_job(time, request_id="r")
    await store.insert_jobs(CLIENT, [first])

    with pytest.raises(RequestIdReused) as refused:
        await store.insert_jobs(
            CLIENT, [new_job(time), new_job(time, request_id="s"), new_job(time, request_id="r", spec_hash=b"other")]
        )

    assert (refused.value.request_id, refused.value.job_id) == ("r", first.job_id)
    assert await stored(store) == [first.job_id]
    # Nor is the other id taken by the batch that was refused.
    other = new_job(time, request_id="s", spec_hash=b"other")
    assert await insert(store, CLIENT, [other]) == [other.job_id]


async def test_repeated_ids_of_a_batch_collapse(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time, request_id="r"), new_job(time), new_job(time, request_id="r")]

    accepted = await store.insert_jobs(CLIENT, jobs)

    assert accepted == [
        Accepted(job_id=jobs[0].job_id),
        Accepted(job_id=jobs[1].job_id),
        Accepted(job_id=jobs[0].job_id, is_known=True),
    ]
    assert await stored(store) == [jobs[0].job_id, jobs[1].job_id]


async def test_a_batch_that_contradicts_itself_stores_nothing(store: Store, time: StoreClock) -> None:
    with pytest.raises(RequestIdReused):
        await store.insert_jobs(
            CLIENT, [new_job(time, request_id="r"), new_job(time, request_id="r", spec_hash=b"other")]
        )

    assert await stored(store) == []


async def test_another_clients_request_id_is_another_one(store: Store, time: StoreClock) -> None:
    mine, theirs = new_job(time, request_id="r"), new_job(time, request_id="r", spec_hash=b"other")

    assert await insert(store, CLIENT, [mine]) == [mine.job_id]
    assert await insert(store, "other", [theirs]) == [theirs.job_id]

    assert await stored(store) == [mine.job_id]
    assert await stored(store, "other") == [theirs.job_id]


async def test_many_identical_submissions_at_once_make_one_job(store: Store, time: StoreClock) -> None:
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(insert(store, CLIENT, [new_job(time, request_id="r")])) for _ in range(20)]

    assert len({job_id for call in calls for job_id in call.result()}) == 1
    assert len(await stored(store)) == 1


async def test_images_belong_to_their_client(store: Store) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE, NEW_IMAGE])
    await store.put_images(CLIENT, [NEW_IMAGE])

    assert await store.find_images(CLIENT, [IMAGE_REF.sha256, "00" * 32]) == {IMAGE_REF.sha256: IMAGE_REF}
    assert await store.get_images(CLIENT, [IMAGE_REF.sha256, "00" * 32]) == {IMAGE_REF.sha256: IMAGE}
    assert await store.find_images("other", [IMAGE_REF.sha256]) == {}
    assert await store.get_images("other", [IMAGE_REF.sha256]) == {}


async def test_an_image_is_handed_out_only_for_a_running_job_that_uses_it(store: Store, time: StoreClock) -> None:
    async def client_of(job_id: str, sha256: str = IMAGE_REF.sha256, executor_client: str = "fleet") -> str | None:
        return await store.runs_with_image(job_id, sha256, executor_client=executor_client)

    await store.put_images(CLIENT, [NEW_IMAGE])
    [job_id] = await insert(store, CLIENT, [new_job(time, images=(IMAGE_REF,))])
    assert await client_of(job_id) is None

    registration = await store.register(dataclasses.replace(executor(), client_id="fleet"), [])
    [job] = await claim(store, session=registration.session)
    assert await client_of(job_id) == CLIENT
    assert await client_of(job_id, "00" * 32) is None
    assert await client_of(job_id, executor_client="another") is None

    await store.give_back([back(job.attempt_id, time)])
    assert await client_of(job_id) is None

    [job] = await claim(store, session=registration.session)
    await store.finish([success(job.attempt_id, time)])
    assert await client_of(job_id) is None
