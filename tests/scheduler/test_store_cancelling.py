"""Conformance of the stores: jobs that are cancelled, and what their attempts cost all the same."""

import pytest
from stores import CLIENT, back, claim, failure, insert, lost, new_job, record, see, submit, success, told

from scheduler.jobs import AttemptOutcome, JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import AttemptId, RunningAttempt

UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def test_a_queued_job_is_cancelled(store: Store, time: StoreClock) -> None:
    first, second = await submit(store, time, 2, 2)

    assert told(await store.cancel(CLIENT, [first])) == (set(), [first], [])
    cancelled = await see(store, first)

    assert (cancelled.state, cancelled.attempt, cancelled.attempts) == (JobState.CANCELLED, 0, ())
    assert (cancelled.result, cancelled.error, cancelled.start_time) == (None, None, None)
    assert cancelled.finish_time is not None
    assert [job.attempt_id.job_id for job in await claim(store)] == [second]


async def test_a_job_that_waits_for_its_time_is_cancelled(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, after_seconds=-1)])

    assert list((await store.cancel(CLIENT, [job_id])).changed) == [job_id]
    cancelled = await see(store, job_id)

    assert (cancelled.state, cancelled.next_attempt_time, cancelled.attempt) == (JobState.CANCELLED, None, 1)
    assert [attempt.outcome for attempt in cancelled.attempts] == [AttemptOutcome.FAILED]
    assert await store.promote_due() is None
    assert await claim(store) == []


async def test_a_running_job_is_cancelled_and_its_attempt_has_to_stop(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=4)

    ended = await store.cancel(CLIENT, [job_id])
    cancelled = await see(store, job_id)

    assert told(ended) == (set(), [job_id], [RunningAttempt(job.attempt_id, "e1", 4)])
    assert (cancelled.state, cancelled.attempt, cancelled.stage) == (JobState.CANCELLED, 1, None)
    [attempt] = cancelled.attempts
    assert (attempt.outcome, attempt.executor_id, attempt.cost_usd) == (AttemptOutcome.CANCELLED, "e1", 0.0)
    assert attempt.start_time == job.start_time


async def test_nothing_is_taken_of_a_cancelled_job(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.cancel(CLIENT, [job_id])
    cancelled = await see(store, job_id)

    assert not (await store.finish([failure(job.attempt_id, time)])).attempts
    assert not (await store.finish([success(job.attempt_id, time)])).attempts
    assert not await store.give_back([back(job.attempt_id, time)])
    assert await store.find_running([job.attempt_id]) == {}
    assert await see(store, job_id) == cancelled


async def test_jobs_of_others_and_unknown_ones_are_not_cancelled(store: Store, time: StoreClock) -> None:
    [theirs] = await insert(store, "other", [new_job(time)])

    assert told(await store.cancel(CLIENT, [theirs, UNKNOWN])) == (set(), [], [])
    assert [job.attempt_id.job_id for job in await claim(store)] == [theirs]


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
async def test_a_final_job_is_not_cancelled(store: Store, time: StoreClock, state: JobState) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    match state:
        case JobState.SUCCEEDED:
            await store.finish([success(job.attempt_id, time)])
        case JobState.FAILED:
            await store.finish([failure(job.attempt_id, time)])
        case _:
            await store.cancel(CLIENT, [job_id])
    done = await see(store, job_id)

    assert told(await store.cancel(CLIENT, [job_id])) == (set(), [], [])
    assert done.state is state
    assert await see(store, job_id) == done


async def test_many_jobs_are_cancelled_at_once_wherever_they_are(store: Store, time: StoreClock) -> None:
    submitted = await submit(store, time, *[2] * 6)
    done, retried, *running = await claim(store, 4)
    await store.finish([success(done.attempt_id, time)])
    await store.give_back([back(retried.attempt_id, time, after_seconds=60)])

    ended = await store.cancel(CLIENT, submitted)

    assert sorted(ended.changed) == submitted[1:]
    assert {each.attempt_id for each in ended.to_stop} == {job.attempt_id for job in running}
    assert await store.count_waiting(10) == 0


async def test_what_a_cancelled_attempt_cost_is_noted_and_its_job_stays_cancelled(
    store: Store, time: StoreClock
) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.cancel(CLIENT, [job_id])
    before = await see(store, job_id)

    await store.note_late([record(job.attempt_id, time, AttemptOutcome.SUCCEEDED, cost_usd=0.25)])
    after = await see(store, job_id)

    [attempt] = after.attempts
    assert (attempt.outcome, attempt.cost_usd, attempt.error) == (AttemptOutcome.SUCCEEDED, 0.25, None)
    assert attempt.usage is not None
    assert attempt.usage.input_tokens == 1_200
    assert (attempt.executor_id, attempt.start_time) == ("e1", job.start_time)
    assert (after.state, after.result, after.finish_time) == (JobState.CANCELLED, None, before.finish_time)


async def test_what_a_lost_attempt_cost_is_noted_while_its_job_goes_on(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])
    [second] = await claim(store)

    await store.note_late([record(first.attempt_id, time, AttemptOutcome.FAILED, cost_usd=0.25)])
    await store.finish([success(second.attempt_id, time, cost_usd=0.5)])
    done = await see(store, job_id)

    assert [attempt.outcome for attempt in done.attempts] == [AttemptOutcome.FAILED, AttemptOutcome.SUCCEEDED]
    assert done.result is not None
    assert done.result.cost_usd == pytest.approx(0.75)


async def test_the_cost_of_an_attempt_is_noted_once(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.cancel(CLIENT, [job_id])
    await store.note_late([record(job.attempt_id, time, AttemptOutcome.FAILED, cost_usd=0.25)])
    noted = await see(store, job_id)

    await store.note_late([record(job.attempt_id, time, AttemptOutcome.SUCCEEDED, cost_usd=9.0)])

    assert await see(store, job_id) == noted


async def test_an_attempt_whose_end_is_known_is_not_noted_again(store: Store, time: StoreClock) -> None:
    submitted = await submit(store, time, 2, 2, 2)
    succeeded, failed, running = await claim(store)
    await store.finish([success(succeeded.attempt_id, time), failure(failed.attempt_id, time)])
    before = [await see(store, job_id) for job_id in submitted]

    await store.note_late(
        [
            record(attempt, time, AttemptOutcome.SUCCEEDED, cost_usd=9.0)
            for attempt in (succeeded.attempt_id, failed.attempt_id, running.attempt_id, AttemptId(submitted[0], 2))
        ]
    )

    assert [await see(store, job_id) for job_id in submitted] == before
