import base64

import pytest
from scheduler_peers import dial
from scheduler_world import World, looping
from stores import CLIENT, insert, new_job, submit

from devkit.virtual_time import in_virtual_time
from scheduler.errors import InvalidRequest, JobNotFound
from scheduler.jobs import JobState, WaitReason
from scheduler.read import DEFAULT_PAGE, MAX_PAGE, page_token
from scheduler.records import JobQuery

ALL = JobQuery(labels={})
UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def paths(reading: object) -> list[str]:
    with pytest.raises(InvalidRequest) as refusal:
        await reading  # type: ignore[misc]
    return [violation.path for violation in refusal.value.violations]


@in_virtual_time
async def test_a_job_is_read_in_any_spelling_of_its_id_with_the_reason_why_it_waits() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    job = await world.read.job(CLIENT, job_id.upper(), attempts=False)

    assert job.job_id == job_id
    assert job.wait is not None
    assert job.wait.reason is WaitReason.NO_EXECUTOR


@in_virtual_time
async def test_jobs_come_in_the_order_of_their_ids_and_one_that_is_missing_is_named() -> None:
    world = World()
    first, second = await submit(world.store, world.clock, 2, 2)

    jobs = await world.read.jobs(CLIENT, [second, first, second])
    with pytest.raises(JobNotFound) as missing:
        await world.read.jobs(CLIENT, [first, UNKNOWN])

    assert [job.job_id for job in jobs] == [second, first, second]
    assert missing.value.job_id == UNKNOWN


@in_virtual_time
async def test_every_malformed_id_is_named_with_its_path() -> None:
    world = World()

    assert await paths(world.read.job(CLIENT, "", attempts=True)) == ["job_id"]
    assert await paths(world.read.jobs(CLIENT, [UNKNOWN, "42", ""])) == ["job_ids[1]", "job_ids[2]"]


@in_virtual_time
async def test_another_client_finds_nothing() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)

    assert await world.read.find("somebody else", [job_id]) == {}
    assert await world.read.page("somebody else", ALL, page_size=0, page_token="", attempts=False) == ([], False)
    with pytest.raises(JobNotFound):
        await world.read.job("somebody else", job_id, attempts=False)


@in_virtual_time
async def test_attempts_come_where_they_are_asked_for() -> None:
    world = World()
    executor = await dial(world, slots=1)
    [job_id] = await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await executor.receive()
    await world.store.cancel(CLIENT, [job_id])

    assert (await world.read.job(CLIENT, job_id, attempts=False)).attempts == ()
    assert len((await world.read.job(CLIENT, job_id, attempts=True)).attempts) == 1


@in_virtual_time
async def test_pages_follow_each_other_newest_first_without_a_gap() -> None:
    world = World()
    jobs = await submit(world.store, world.clock, *[2] * 7)
    seen: list[list[str]] = []
    token, more = "", True
    while more:
        page, more = await world.read.page(CLIENT, ALL, page_size=3, page_token=token, attempts=False)
        seen.append([job.job_id for job in page])
        token = page_token(page[-1].job_id, ALL)

    assert seen == [jobs[6:3:-1], jobs[3:0:-1], jobs[:1]]


@in_virtual_time
async def test_a_page_has_a_default_size_and_a_largest_one() -> None:
    world = World()
    await insert(world.store, CLIENT, [new_job(world.clock) for _ in range(MAX_PAGE + 1)])

    sizes = [
        len((await world.read.page(CLIENT, ALL, page_size=size, page_token="", attempts=False))[0])
        for size in (0, MAX_PAGE + 1)
    ]

    assert sizes == [DEFAULT_PAGE, MAX_PAGE]
    assert await paths(world.read.page(CLIENT, ALL, page_size=-1, page_token="", attempts=False)) == ["page_size"]


@pytest.mark.parametrize("token", ["junk", "ünk", base64.urlsafe_b64encode(b"no id").decode(), "=", "/w=="])
@in_virtual_time
async def test_a_token_that_is_none_is_refused(token: str) -> None:
    reading = World().read.page(CLIENT, ALL, page_size=0, page_token=token, attempts=False)

    assert await paths(reading) == ["page_token"]


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(labels={}, user_id="user"),
        JobQuery(labels={"a": "b"}),
        JobQuery(labels={}, states=frozenset({JobState.QUEUED})),
    ],
)
@in_virtual_time
async def test_a_token_belongs_to_its_filter(query: JobQuery) -> None:
    reading = World().read.page(CLIENT, query, page_size=0, page_token=page_token(UNKNOWN, ALL), attempts=False)

    assert await paths(reading) == ["page_token"]


@in_virtual_time
async def test_ids_come_in_pages_and_only_of_the_states_that_are_meant() -> None:
    world = World()
    jobs = await insert(world.store, CLIENT, [new_job(world.clock) for _ in range(1_001)])
    await world.store.cancel(CLIENT, jobs[:1])

    pages = [ids async for ids in world.read.ids(CLIENT, ALL, frozenset({JobState.QUEUED}))]

    assert [len(page) for page in pages] == [500, 500]
    assert [job_id for page in pages for job_id in page] == jobs[:0:-1]
