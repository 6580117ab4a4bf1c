"""Conformance of the stores: fences by session, attempts that are taken back, and late successes."""

import dataclasses
import datetime

import pytest
from stores import (
    CLIENT,
    Age,
    back,
    claim,
    connect,
    executor,
    failure,
    insert,
    lost,
    new_job,
    running_job,
    see,
    submit,
    success,
    told,
)

from scheduler.errors import StaleHello
from scheduler.jobs import AttemptOutcome, JobState, Stage
from scheduler.ports import Store, StoreClock
from scheduler.records import AttemptId, RunningAttempt

MINUTE = datetime.timedelta(minutes=1)


async def test_a_return_counts_only_in_the_session_it_is_meant_for(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=await connect(store))
    session = await connect(store, held=(job.attempt_id,))

    assert not await store.give_back([lost(job.attempt_id, time, session=session - 1)])
    assert (await see(store, job_id)).state is JobState.RUNNING
    assert await store.give_back([lost(job.attempt_id, time, session=session)]) == {job.attempt_id}
    assert not await store.give_back([lost(job.attempt_id, time, session=session)])


async def test_an_end_counts_only_in_the_session_it_is_meant_for(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=3)
    poison = failure(job.attempt_id, time)

    assert not (await store.finish([dataclasses.replace(poison, session=2)])).attempts
    assert (await see(store, job_id)).attempts == ()
    assert (await store.finish([dataclasses.replace(poison, session=3)])).attempts == {job.attempt_id}


async def test_a_batch_returns_those_whose_session_is_right(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2, 2)
    jobs = await claim(store, session=5)

    returned = await store.give_back(
        [lost(job.attempt_id, time, session=session) for job, session in zip(jobs, (5, 4, None), strict=True)]
    )

    assert returned == {jobs[0].attempt_id, jobs[2].attempt_id}


async def test_a_success_needs_no_session(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store, session=3)

    ended = await store.finish([dataclasses.replace(success(job.attempt_id, time), session=1)])

    assert ended.attempts == {job.attempt_id}


async def test_an_executor_takes_back_what_was_lost_while_it_only_waits(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=await connect(store))
    await store.give_back([lost(job.attempt_id, time)])

    registration = await store.register(executor(), [job.attempt_id])
    seen = await see(store, job_id)

    assert registration.held == {job.attempt_id: running_job(session=2)}
    assert (seen.state, seen.attempt, seen.stage, seen.attempts) == (JobState.RUNNING, 1, Stage.STARTING, ())
    assert (seen.stage_start_time, seen.executor_id) == (job.start_time, "e1")
    assert await store.count_waiting(10) == 0
    assert await claim(store) == []
    assert (await store.finish([failure(job.attempt_id, time)])).attempts == {job.attempt_id}
    [attempt] = (await see(store, job_id)).attempts
    assert (attempt.attempt, attempt.outcome, attempt.start_time) == (1, AttemptOutcome.FAILED, job.start_time)


async def test_a_call_that_was_taken_back_is_paid_once(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store, session=await connect(store))
    await store.give_back([lost(job.attempt_id, time, paid=True)])
    await connect(store, held=(job.attempt_id,))
    await store.give_back([lost(job.attempt_id, time, paid=True)])

    [again] = await claim(store)

    assert await store.find_running([again.attempt_id]) == {again.attempt_id: running_job(paid_calls=1)}


async def test_what_was_taken_back_can_be_lost_and_cancelled(store: Store, time: StoreClock) -> None:
    lost_again, cancelled = await submit(store, time, 2, 2)
    jobs = await claim(store, session=await connect(store))
    await store.give_back([lost(job.attempt_id, time) for job in jobs])
    await connect(store, held=(jobs[0].attempt_id, jobs[1].attempt_id))

    assert await store.give_back([lost(jobs[0].attempt_id, time)]) == {jobs[0].attempt_id}
    ended = await store.cancel(CLIENT, [cancelled])

    assert list(ended.to_stop) == [RunningAttempt(jobs[1].attempt_id, "e1", 2)]
    for job_id, outcome in ((lost_again, AttemptOutcome.LOST), (cancelled, AttemptOutcome.CANCELLED)):
        assert [attempt.outcome for attempt in (await see(store, job_id)).attempts] == [outcome]


@pytest.mark.parametrize("end", ["failed", "scheduled", "elsewhere", "another executor's", "cancelled"])
async def test_an_executor_does_not_take_back_what_is_not_waiting_for_it(
    store: Store, time: StoreClock, end: str
) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=await connect(store))
    match end:
        case "failed":
            await store.give_back([back(job.attempt_id, time)])
        case "scheduled":
            await store.give_back([dataclasses.replace(lost(job.attempt_id, time), due_time=time.now())])
        case "elsewhere":
            await store.give_back([lost(job.attempt_id, time)])
            await claim(store, executor_id="e2")
        case "cancelled":
            await store.give_back([lost(job.attempt_id, time)])
            await store.cancel(CLIENT, [job_id])
        case _:
            await store.give_back([lost(job.attempt_id, time)])
    before = await see(store, job_id)

    registration = await store.register(executor("e2" if end == "another executor's" else "e1"), [job.attempt_id])

    assert registration.held == {}
    assert await see(store, job_id) == before


async def test_the_attempts_of_one_session_are_told(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2, 2, 2)
    [job] = await claim(store, 1, executor_id="e1", session=4)
    await claim(store, 1, executor_id="e1", session=3)
    await claim(store, 1, executor_id="e2", session=4)
    [done] = await claim(store, 1, executor_id="e1", session=4)
    await store.finish([success(done.attempt_id, time)])

    assert await store.running_on("e1", 4) == {job.attempt_id: running_job(session=4)}
    assert await store.running_on("e1", 5) == {}
    assert await store.running_on("nobody", 1) == {}


async def test_a_running_attempt_is_known_with_all_that_a_decision_needs(store: Store, time: StoreClock) -> None:
    expire_time = time.now().replace(year=2100)
    [job_id] = await insert(store, CLIENT, [new_job(time, expire_time=expire_time, max_retries=5)])
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, charged=True)])
    [second] = await claim(store)
    await store.give_back([lost(second.attempt_id, time, paid=True, died_preparing=True)])
    [third] = await claim(store, executor_id="e2", session=9)
    await store.note_stages({third.attempt_id: (Stage.GEMINI_ANALYZING, time.now())})

    assert await store.find_running([AttemptId(job_id, number) for number in (1, 2, 3, 4)]) == {
        third.attempt_id: running_job(
            executor_id="e2",
            session=9,
            stage=Stage.GEMINI_ANALYZING,
            retry_count=1,
            max_retries=5,
            paid_calls=1,
            preparing_deaths=1,
            expire_time=expire_time,
        )
    }


async def test_an_attempt_is_overdue_when_its_call_has_taken_longer_than_the_timeout_and_the_margin(
    store: Store, time: StoreClock, age: Age
) -> None:
    await insert(store, CLIENT, [new_job(time, timeout=minutes * MINUTE) for minutes in (1, 1, 5)])
    calling, preparing, patient = await claim(store)
    stages = (Stage.GEMINI_ANALYZING, Stage.WAITING_FOR_PERMIT, Stage.GEMINI_ANALYZING)
    await store.note_stages(
        {job.attempt_id: (stage, time.now()) for job, stage in zip((calling, preparing, patient), stages, strict=True)}
    )
    assert await store.overdue(MINUTE) == {}

    await age(1.5 * MINUTE)
    assert await store.overdue(MINUTE) == {}
    await age(MINUTE)
    assert await store.overdue(MINUTE) == {calling.attempt_id: running_job(stage=Stage.GEMINI_ANALYZING)}
    await age(4 * MINUTE)
    assert set(await store.overdue(MINUTE)) == {calling.attempt_id, patient.attempt_id}


async def test_a_late_success_stops_the_attempt_that_runs_in_its_place(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])
    [second] = await claim(store, executor_id="e2", session=6)

    ended = await store.finish([success(first.attempt_id, time, cost_usd=0.5)])
    done = await see(store, job_id)

    assert told(ended) == ({first.attempt_id}, [job_id], [RunningAttempt(second.attempt_id, "e2", 6)])
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert [(attempt.outcome, attempt.executor_id) for attempt in done.attempts] == [
        (AttemptOutcome.SUCCEEDED, "e1"),
        (AttemptOutcome.CANCELLED, "e2"),
    ]
    assert done.attempts[1].start_time == second.start_time


@pytest.mark.parametrize("waiting", [None, 3_600.0], ids=["queued", "scheduled"])
async def test_a_late_success_of_a_job_that_waits_stops_nothing(
    store: Store, time: StoreClock, waiting: float | None
) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, after_seconds=waiting)])

    assert told(await store.finish([success(first.attempt_id, time)])) == ({first.attempt_id}, [job_id], [])


async def test_the_success_that_was_stopped_costs_and_changes_nothing_else(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])
    [second] = await claim(store, executor_id="e2")
    await store.finish([success(first.attempt_id, time, cost_usd=0.5)])
    done = await see(store, job_id)
    late = success(second.attempt_id, time, cost_usd=0.25)

    assert told(await store.finish([late])) == (set(), [], [])
    await store.note_late([late.record])
    after = await see(store, job_id)

    assert [attempt.cost_usd for attempt in after.attempts] == [0.5, 0.25]
    assert (after.state, after.attempt, after.finish_time) == (done.state, done.attempt, done.finish_time)
    assert after.result is not None
    assert after.result.cost_usd == pytest.approx(0.75)


async def test_a_hello_that_was_stored_late_does_not_end_the_session_of_a_later_one(store: Store) -> None:
    later = await store.register(dataclasses.replace(executor("e1"), dial=2), ())

    with pytest.raises(StaleHello):
        await store.register(dataclasses.replace(executor("e1"), dial=1), ())

    assert await store.touch("e1", later.session)
    assert (await store.register(dataclasses.replace(executor("e1"), dial=3), ())).session == later.session + 1
