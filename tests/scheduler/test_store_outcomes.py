"""Conformance of the stores: what becomes of attempts, and that every write is fenced."""

import datetime

import pytest
from stores import CLIENT, ERROR, back, claim, connect, failure, submit, success

from scheduler.jobs import AttemptOutcome, Job, JobState, Stage
from scheduler.ports import AttemptId, Store, StoreClock


async def seen(store: Store, job_id: str) -> Job:
    return (await store.get_jobs(CLIENT, [job_id], attempts=True))[job_id]


async def test_a_success_ends_its_job_with_result_and_attempt(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)

    assert await store.finish([success(job.attempt_id, time)]) == {job.attempt_id}
    done = await seen(store, job_id)

    assert (done.state, done.attempt, done.retry_count) == (JobState.SUCCEEDED, 1, 0)
    assert done.result is not None
    assert done.result.output_json == '{"a":1}'
    assert done.result.usage.input_tokens == 1_200
    assert done.result.stage_seconds == {Stage.GEMINI_ANALYZING: 1.5}
    assert done.finish_time is not None
    [attempt] = done.attempts
    assert (attempt.attempt, attempt.executor_id, attempt.outcome) == (1, "e1", AttemptOutcome.SUCCEEDED)
    assert attempt.start_time == job.start_time


async def test_a_failure_ends_its_job_with_the_error(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)

    await store.finish([failure(job.attempt_id, time)])
    done = await seen(store, job_id)

    assert (done.state, done.error, done.result) == (JobState.FAILED, ERROR, None)


async def test_a_second_outcome_of_the_same_attempt_changes_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, time)])

    assert not await store.finish([success(job.attempt_id, time)])
    assert not await store.finish([failure(job.attempt_id, time)])
    assert not await store.give_back([back(job.attempt_id, time)])
    assert (await seen(store, job_id)).state is JobState.SUCCEEDED


async def test_a_failure_of_a_superseded_attempt_is_refused(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    [second] = await claim(store)

    assert not await store.finish([failure(first.attempt_id, time)])
    assert not await store.give_back([back(first.attempt_id, time)])
    assert (await seen(store, job_id)).state is JobState.RUNNING
    assert await store.find_running([first.attempt_id, second.attempt_id]) == {
        second.attempt_id: (await store.find_running([second.attempt_id]))[second.attempt_id]
    }


@pytest.mark.parametrize("where", ["queued", "scheduled", "running again"])
async def test_a_late_success_is_taken_wherever_its_job_waits(store: Store, time: StoreClock, where: str) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    after = 3_600.0 if where == "scheduled" else None
    await store.give_back([back(first.attempt_id, time, after_seconds=after)])
    if where == "running again":
        await claim(store)

    assert await store.finish([success(first.attempt_id, time)]) == {first.attempt_id}
    done = await seen(store, job_id)

    assert done.state is JobState.SUCCEEDED
    assert done.attempts[0].outcome is AttemptOutcome.SUCCEEDED
    assert await claim(store) == []


async def test_an_attempt_that_was_never_made_ends_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    await claim(store)

    assert not await store.finish([success(AttemptId(job_id, 2), time)])
    assert not await store.finish([success(AttemptId("01990000-0000-7000-8000-000000000000", 1), time)])


async def test_only_charged_failures_count_as_retries(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    for charged in (True, False, True):
        [job] = await claim(store)
        await store.give_back([back(job.attempt_id, time, charged=charged)])

    waiting = await seen(store, job_id)

    assert (waiting.state, waiting.attempt, waiting.retry_count) == (JobState.QUEUED, 3, 2)
    assert [attempt.attempt for attempt in waiting.attempts] == [1, 2, 3]


async def test_a_retry_shows_when_it_follows(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    record = back(job.attempt_id, time, charged=True, after_seconds=60)
    await store.give_back([record])

    waiting = await seen(store, job_id)

    assert waiting.state is JobState.SCHEDULED
    assert waiting.next_attempt_time is not None
    assert record.due_time is not None
    assert abs(waiting.next_attempt_time - record.due_time) < datetime.timedelta(milliseconds=1)


async def test_the_cost_of_a_job_is_that_of_all_its_attempts(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, charged=True)])
    [second] = await claim(store)
    await store.finish([success(second.attempt_id, time, cost_usd=0.25)])

    done = await seen(store, job_id)

    assert done.result is not None
    assert done.result.cost_usd == pytest.approx(0.25)
    assert done.start_time == first.start_time


async def test_a_batch_ends_every_job_that_it_may(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 20)
    claimed = await claim(store, 20)
    stale = AttemptId(claimed[0].attempt_id.job_id, 9)

    finals = [success(job.attempt_id, time) for job in claimed[1:10]] + [
        failure(job.attempt_id, time) for job in claimed[10:]
    ]
    ended = await store.finish([success(stale, time), *finals])

    assert ended == {final.record.attempt_id for final in finals}


async def test_stages_are_noted_only_on_running_attempts(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)

    await store.note_stages({AttemptId(job_id, 2): (Stage.VALIDATING, time.now())})
    assert (await seen(store, job_id)).stage is Stage.STARTING
    await store.note_stages({job.attempt_id: (Stage.GEMINI_ANALYZING, time.now())})
    assert (await seen(store, job_id)).stage is Stage.GEMINI_ANALYZING

    await store.give_back([back(job.attempt_id, time)])
    assert (await seen(store, job_id)).stage is None


async def test_an_executor_that_dials_again_keeps_what_it_holds(store: Store, time: StoreClock) -> None:
    await connect(store)
    await submit(store, time, 2, 2)
    held, unknown = await claim(store)

    registration = await store.register(_info("e1"), [held.attempt_id, AttemptId(held.attempt_id.job_id, 7)])

    assert registration.session == 2
    assert set(registration.held) == {held.attempt_id}
    assert registration.orphaned == {unknown.attempt_id}


async def test_an_executor_is_not_handed_what_another_one_runs(store: Store, time: StoreClock) -> None:
    await connect(store, "e1")
    await submit(store, time)
    [job] = await claim(store)

    registration = await store.register(_info("e2"), [job.attempt_id])

    assert registration.held == {}
    assert not registration.orphaned


async def test_a_silent_executor_is_lost_and_its_session_is_over(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await submit(store, time)
    [job] = await claim(store, session=session)
    assert await store.declare_lost(datetime.timedelta(hours=1)) == set()
    assert await store.touch("e1", session)

    assert await store.declare_lost(datetime.timedelta(0)) == {job.attempt_id}

    assert not await store.touch("e1", session)
    # Until somebody gives the attempt back, it is told again.
    assert await store.declare_lost(datetime.timedelta(hours=1)) == {job.attempt_id}
    assert await store.touch("e1", await connect(store, held=(job.attempt_id,)))
    assert await store.declare_lost(datetime.timedelta(hours=1)) == set()


async def test_a_job_claimed_for_a_session_that_is_lost_meanwhile_is_found(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await store.declare_lost(datetime.timedelta(0))
    await submit(store, time)

    [job] = await claim(store, session=session)

    assert await store.declare_lost(datetime.timedelta(hours=1)) == {job.attempt_id}


async def test_an_older_session_gives_no_sign_of_life(store: Store) -> None:
    old = await connect(store)
    new = await connect(store)

    assert not await store.touch("e1", old)
    assert await store.touch("e1", new)
    assert not await store.touch("nobody", 1)


async def test_lanes_are_served_by_executors_that_live(store: Store) -> None:
    assert set(await store.served_lanes(datetime.timedelta(hours=1))) == set()
    await connect(store)
    assert set(await store.served_lanes(datetime.timedelta(hours=1))) == {"gemini/*"}
    await store.declare_lost(datetime.timedelta(0))
    assert set(await store.served_lanes(datetime.timedelta(hours=1))) == set()


def _info(executor_id: str):  # type: ignore[no-untyped-def]
    from scheduler.ports import ExecutorInfo

    return ExecutorInfo(executor_id=executor_id, host="host", version="1", capacity=3, lanes=("gemini/*",))
