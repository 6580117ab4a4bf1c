"""Conformance of the stores: what becomes of attempts, and that every write is fenced."""

import asyncio
import datetime

import pytest
from stores import ERROR, back, claim, failure, running_job, see, submit, success

from scheduler.jobs import AttemptOutcome, JobState, Stage
from scheduler.ports import Store, StoreClock
from scheduler.records import AttemptId

MILLISECOND = datetime.timedelta(milliseconds=1)


async def test_a_success_ends_its_job_with_result_and_attempt(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)

    assert (await store.finish([success(job.attempt_id, time)])).attempts == {job.attempt_id}
    done = await see(store, job_id)

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

    assert (await store.finish([failure(job.attempt_id, time)])).attempts == {job.attempt_id}
    done = await see(store, job_id)

    assert (done.state, done.error, done.result) == (JobState.FAILED, ERROR, None)
    assert (done.stage, done.stage_start_time, done.next_attempt_time) == (None, None, None)
    assert [(attempt.outcome, attempt.error) for attempt in done.attempts] == [(AttemptOutcome.FAILED, ERROR)]


async def test_a_second_outcome_of_the_same_attempt_changes_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, time)])
    done = await see(store, job_id)

    assert not (await store.finish([success(job.attempt_id, time, cost_usd=9.0)])).attempts
    assert not (await store.finish([failure(job.attempt_id, time)])).attempts
    assert not await store.give_back([back(job.attempt_id, time)])
    assert await see(store, job_id) == done


async def test_a_job_that_failed_is_not_saved_by_a_later_success(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    [second] = await claim(store)
    await store.finish([failure(second.attempt_id, time)])
    failed = await see(store, job_id)

    assert not (await store.finish([success(first.attempt_id, time)])).attempts
    assert not (await store.finish([success(second.attempt_id, time)])).attempts
    assert await see(store, job_id) == failed


async def test_of_many_outcomes_at_once_one_ends_the_job(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    [second] = await claim(store)
    finals = [success(first.attempt_id, time), success(second.attempt_id, time), failure(second.attempt_id, time)] * 3

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(store.finish([final])) for final in finals]
    [(final, _)] = [(final, call) for final, call in zip(finals, calls, strict=True) if call.result().attempts]
    done = await see(store, job_id)

    assert (done.state, done.attempt) == (final.state, final.record.attempt_id.attempt)


async def test_a_failure_of_a_superseded_attempt_is_refused(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    [second] = await claim(store)

    assert not (await store.finish([failure(first.attempt_id, time)])).attempts
    assert not await store.give_back([back(first.attempt_id, time)])
    seen = await see(store, job_id)
    assert (seen.state, seen.attempt, seen.retry_count) == (JobState.RUNNING, 2, 0)
    assert await store.find_running([first.attempt_id, second.attempt_id]) == {second.attempt_id: running_job()}


@pytest.mark.parametrize("after_seconds", [None, 3_600.0], ids=["queued", "scheduled"])
async def test_a_failure_of_an_attempt_that_was_given_back_is_refused(
    store: Store, time: StoreClock, after_seconds: float | None
) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, after_seconds=after_seconds)])
    waiting = await see(store, job_id)

    assert not (await store.finish([failure(job.attempt_id, time)])).attempts
    assert not await store.give_back([back(job.attempt_id, time, charged=True)])
    assert await store.find_running([job.attempt_id]) == {}
    assert await see(store, job_id) == waiting


@pytest.mark.parametrize("where", ["queued", "scheduled", "running again"])
async def test_a_late_success_is_taken_wherever_its_job_is(store: Store, time: StoreClock, where: str) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    after = 3_600.0 if where == "scheduled" else None
    await store.give_back([back(first.attempt_id, time, after_seconds=after)])
    if where == "running again":
        await claim(store, executor_id="e2")

    assert (await store.finish([success(first.attempt_id, time)])).attempts == {first.attempt_id}
    done = await see(store, job_id)

    assert (done.state, done.attempt, done.next_attempt_time) == (JobState.SUCCEEDED, 1, None)
    assert await store.promote_due() is None
    assert await claim(store) == []


async def test_a_late_success_replaces_what_was_noted_of_its_attempt(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store, executor_id="e1")
    await store.give_back([back(first.attempt_id, time, cost_usd=0.125)])
    await claim(store, executor_id="e2")

    await store.finish([success(first.attempt_id, time, cost_usd=0.5)])
    done = await see(store, job_id)

    attempt, stopped = done.attempts
    assert (attempt.attempt, attempt.outcome, attempt.error) == (1, AttemptOutcome.SUCCEEDED, None)
    assert (stopped.attempt, stopped.outcome, stopped.executor_id) == (2, AttemptOutcome.CANCELLED, "e2")
    assert (attempt.executor_id, attempt.start_time) == ("e1", first.start_time)
    assert done.result is not None
    assert done.result.cost_usd == attempt.cost_usd == pytest.approx(0.5)


async def test_nothing_more_is_taken_after_a_late_success(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time)])
    [second] = await claim(store)
    await store.finish([success(first.attempt_id, time)])
    done = await see(store, job_id)

    assert await store.find_running([second.attempt_id]) == {}
    assert not (await store.finish([failure(second.attempt_id, time)])).attempts
    assert not (await store.finish([success(second.attempt_id, time)])).attempts
    assert not await store.give_back([back(second.attempt_id, time)])
    assert await see(store, job_id) == done


async def test_an_attempt_that_was_never_made_ends_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    await claim(store)

    assert not (await store.finish([success(AttemptId(job_id, 2), time)])).attempts
    assert not (await store.finish([success(AttemptId(job_id, 0), time)])).attempts
    assert not (await store.finish([success(AttemptId("01990000-0000-7000-8000-000000000000", 1), time)])).attempts


async def test_only_charged_failures_count_as_retries(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    for charged in (True, False, True):
        [job] = await claim(store)
        await store.give_back([back(job.attempt_id, time, charged=charged)])

    waiting = await see(store, job_id)

    assert (waiting.state, waiting.attempt, waiting.retry_count) == (JobState.QUEUED, 3, 2)
    assert [attempt.attempt for attempt in waiting.attempts] == [1, 2, 3]


@pytest.mark.parametrize("charged", [False, True])
async def test_a_job_that_waits_for_its_retry_shows_when_it_follows(
    store: Store, time: StoreClock, charged: bool
) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    given_back = back(job.attempt_id, time, charged=charged, after_seconds=60)

    assert await store.give_back([given_back]) == {job.attempt_id}
    waiting = await see(store, job_id)

    assert (waiting.state, waiting.retry_count) == (JobState.SCHEDULED, int(charged))
    assert (waiting.stage, waiting.stage_start_time) == (None, None)
    assert waiting.next_attempt_time is not None
    assert given_back.due_time is not None
    assert abs(waiting.next_attempt_time - given_back.due_time) < MILLISECOND
    [attempt] = waiting.attempts
    assert (attempt.executor_id, attempt.start_time) == ("e1", job.start_time)
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.FAILED, ERROR)
    assert abs(attempt.finish_time - given_back.record.finish_time) < MILLISECOND


async def test_what_is_due_at_once_shows_no_time(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, after_seconds=-1)])

    await store.promote_due()
    waiting = await see(store, job_id)

    assert (waiting.state, waiting.next_attempt_time) == (JobState.QUEUED, None)


async def test_the_cost_of_a_job_is_that_of_all_its_attempts(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, charged=True, cost_usd=0.5)])
    [second] = await claim(store)
    await store.finish([success(second.attempt_id, time, cost_usd=0.25)])

    done = await see(store, job_id)

    assert done.result is not None
    assert done.result.cost_usd == pytest.approx(0.75)
    assert [attempt.cost_usd for attempt in done.attempts] == [0.5, 0.25]
    assert [attempt.start_time for attempt in done.attempts] == [first.start_time, second.start_time]
    assert done.start_time == first.start_time


async def test_a_batch_ends_every_job_that_it_may(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 20)
    claimed = await claim(store, 20)
    stale = AttemptId(claimed[0].attempt_id.job_id, 9)

    finals = [success(job.attempt_id, time) for job in claimed[1:10]] + [
        failure(job.attempt_id, time) for job in claimed[10:]
    ]
    ended = await store.finish([success(stale, time), *finals])

    assert ended.attempts == {final.record.attempt_id for final in finals}


async def test_a_batch_returns_every_job_that_it_may(store: Store, time: StoreClock) -> None:
    await submit(store, time, *[2] * 6)
    stale, *claimed = await claim(store)
    await store.give_back([back(stale.attempt_id, time)])

    returned = await store.give_back(
        [back(stale.attempt_id, time), *(back(job.attempt_id, time, charged=True) for job in claimed)]
    )

    assert returned == {job.attempt_id for job in claimed}
    assert await store.count_waiting(10) == 6


async def test_stages_are_noted_only_on_running_attempts(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [first] = await claim(store)

    begun = time.now()
    await store.note_stages({first.attempt_id: (Stage.GEMINI_ANALYZING, begun)})
    seen = await see(store, job_id)
    assert seen.stage is Stage.GEMINI_ANALYZING
    assert seen.stage_start_time is not None
    assert abs(seen.stage_start_time - begun) < MILLISECOND

    await store.give_back([back(first.attempt_id, time)])
    await store.note_stages({first.attempt_id: (Stage.VALIDATING, time.now())})
    assert (await see(store, job_id)).stage is None

    [second] = await claim(store)
    await store.note_stages({first.attempt_id: (Stage.VALIDATING, time.now())})
    assert (await see(store, job_id)).stage is Stage.STARTING

    await store.finish([success(second.attempt_id, time)])
    await store.note_stages({second.attempt_id: (Stage.VALIDATING, time.now())})
    assert (await see(store, job_id)).stage is None
