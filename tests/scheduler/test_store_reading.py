"""Conformance of the stores: what clients see of their jobs."""

import dataclasses

from stores import CLIENT, LANE, back, claim, insert, new_job, submit, success

from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import JobQuery

ALL = JobQuery(labels={})
UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def listed(store: Store, query: JobQuery = ALL, *, before: str | None = None, limit: int = 100) -> list[str]:
    jobs = await store.list_jobs(CLIENT, query, before=before, limit=limit, attempts=False)
    ids = await store.list_ids(CLIENT, query, before=before, limit=limit)
    assert list(ids) == [job.job_id for job in jobs]
    return list(ids)


def query(**changes: object) -> JobQuery:
    return dataclasses.replace(ALL, **changes)  # type: ignore[arg-type]


async def test_jobs_are_got_by_their_ids_and_unknown_ids_left_out(store: Store, time: StoreClock) -> None:
    first, _, third = await submit(store, time, 1, 2, 3)

    got = await store.get_jobs(CLIENT, [third, UNKNOWN, first], attempts=False)

    assert {job_id: job.spec.priority for job_id, job in got.items()} == {first: 1, third: 3}
    assert await store.get_jobs(CLIENT, [], attempts=False) == {}


async def test_attempts_come_only_if_asked_for(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    for _ in range(2):
        [job] = await claim(store)
        await store.give_back([back(job.attempt_id, time)])

    for asked, numbers in ((False, []), (True, [1, 2])):
        got = await store.get_jobs(CLIENT, [job_id], attempts=asked)
        [listed_job] = await store.list_jobs(CLIENT, ALL, before=None, limit=1, attempts=asked)
        assert [attempt.attempt for attempt in got[job_id].attempts] == numbers
        assert listed_job == got[job_id]


async def test_jobs_are_invisible_to_other_clients(store: Store, time: StoreClock) -> None:
    [mine] = await submit(store, time)
    [theirs] = await insert(store, "other", [new_job(time)])

    assert set(await store.get_jobs("other", [mine, theirs], attempts=True)) == {theirs}
    theirs_listed = await store.list_jobs("other", ALL, before=None, limit=10, attempts=False)
    assert [job.job_id for job in theirs_listed] == [theirs]
    assert await listed(store) == [mine]


async def test_lists_are_newest_first_and_go_on_before_an_id(store: Store, time: StoreClock) -> None:
    ids = await submit(store, time, 1, 3, 2, 2)

    assert await listed(store) == ids[::-1]
    assert await listed(store, limit=2) == ids[:1:-1]
    assert await listed(store, before=ids[2]) == ids[1::-1]
    assert await listed(store, before=ids[0]) == []


async def test_pages_of_a_filtered_list_hold_every_match_once(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time, labels={"n": str(number % 3)}) for number in range(20)]
    await store.insert_jobs(CLIENT, jobs)
    wanted = query(labels={"n": "1"})

    pages: list[list[str]] = []
    while page := await listed(store, wanted, before=pages[-1][-1] if pages else None, limit=3):
        pages.append(page)

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job_id for page in pages for job_id in page] == [job.job_id for job in jobs[1::3]][::-1]


async def test_lists_filter_by_state(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2, 2, 2)
    done, retried, running = await claim(store, 3)
    await store.finish([success(done.attempt_id, time)])
    await store.give_back([back(retried.attempt_id, time, after_seconds=60)])
    [queued] = await listed(store, query(states=frozenset({JobState.QUEUED})))

    for state, job_id in (
        (JobState.SUCCEEDED, done.attempt_id.job_id),
        (JobState.SCHEDULED, retried.attempt_id.job_id),
        (JobState.RUNNING, running.attempt_id.job_id),
    ):
        assert await listed(store, query(states=frozenset({state}))) == [job_id]
    assert await listed(store, query(states=frozenset({JobState.SUCCEEDED, JobState.QUEUED}))) == [
        queued,
        done.attempt_id.job_id,
    ]
    assert await listed(store, query(states=frozenset({JobState.FAILED}))) == []


async def test_lists_filter_by_user_and_labels(store: Store, time: StoreClock) -> None:
    mine = new_job(time, user_id="me", labels={"a": "1", "b": "2"})
    other = new_job(time, labels={"a": "1"})
    await store.insert_jobs(CLIENT, [mine, other])

    assert await listed(store, query(user_id="me")) == [mine.job_id]
    assert await listed(store, query(user_id="nobody")) == []
    assert await listed(store, query(labels={"a": "1"})) == [other.job_id, mine.job_id]
    assert await listed(store, query(labels={"b": "2"}, user_id="me")) == [mine.job_id]
    assert await listed(store, query(labels={"b": "2"}, user_id="user")) == []
    assert await listed(store, query(labels={"a": "2"})) == []


async def test_lists_filter_by_lane_wherever_a_job_is(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2)
    flash = [new_job(time, model="gemini-3.5-flash") for _ in range(2)]
    await store.insert_jobs(CLIENT, flash)
    [job] = await claim(store, 1, lane="gemini/gemini-3.5-flash")
    await store.finish([success(job.attempt_id, time)])

    assert await listed(store, query(lane="gemini/gemini-3.5-flash")) == [flash[1].job_id, flash[0].job_id]
    assert await listed(store, query(lane="gemini/none")) == []


async def test_lists_filter_by_time_from_the_first_to_before_the_last(store: Store, time: StoreClock) -> None:
    jobs = [new_job(time) for _ in range(4)]
    await store.insert_jobs(CLIENT, jobs)
    _, second, third, last = jobs

    assert await listed(store, query(from_time=second.create_time, to_time=last.create_time)) == [
        third.job_id,
        second.job_id,
    ]
    assert await listed(store, query(from_time=last.create_time)) == [last.job_id]
    assert await listed(store, query(to_time=second.create_time)) == [jobs[0].job_id]


async def test_filters_hold_together(store: Store, time: StoreClock) -> None:
    wanted, *_ = jobs = [
        new_job(time, user_id="me", labels={"a": "1"}),
        new_job(time, user_id="me", labels={"a": "2"}),
        new_job(time, user_id="you", labels={"a": "1"}),
        new_job(time, user_id="me", labels={"a": "1"}, model="gemini-3.5-flash"),
        new_job(time, user_id="me", labels={"a": "1"}),
    ]
    await store.insert_jobs(CLIENT, jobs)
    await store.cancel(CLIENT, [jobs[-1].job_id])

    everything = query(
        user_id="me",
        states=frozenset({JobState.QUEUED}),
        labels={"a": "1"},
        lane=LANE,
        from_time=wanted.create_time,
        to_time=time.now(),
    )
    assert await listed(store, everything) == [wanted.job_id]


async def test_a_retried_job_names_the_one_it_does_again(store: Store, time: StoreClock) -> None:
    [first] = await submit(store, time)
    again = dataclasses.replace(new_job(time), retried_from=first)
    await store.insert_jobs(CLIENT, [again])

    got = await store.get_jobs(CLIENT, [first, again.job_id], attempts=False)

    assert {job_id: job.retried_from for job_id, job in got.items()} == {first: None, again.job_id: first}
