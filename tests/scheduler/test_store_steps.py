"""Conformance of the stores: jobs of two steps, from one lane to the next, and what became of the answers in a step."""

import dataclasses

import pytest
from stores import (
    CLIENT,
    ERROR,
    KEY,
    LANE,
    SECOND,
    SECOND_LANE,
    back,
    claim,
    claim_second_step,
    connect,
    executor,
    failure,
    insert,
    lost,
    new_job,
    passed,
    running_job,
    see,
    submit,
    submit_alike,
    success,
    told,
)

from scheduler.jobs import AttemptOutcome, ImageRef, JobError, JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import AttemptId, JobQuery, ReturnRecord, RunningAttempt

FINAL_ERROR = JobError(kind="BAD_REQUEST", message="400", retryable=False)


def flawed(attempt: AttemptId, time: StoreClock, flaw: str) -> ReturnRecord:
    returned = back(attempt, time, charged=True)
    return dataclasses.replace(returned, record=dataclasses.replace(returned.record, flaw=flaw, paid=True))


async def names_of(store: Store, lane: str) -> list[str]:
    query = JobQuery(lane=lane, labels={})
    return list(await store.list_ids(CLIENT, query, before=None, limit=10))


async def test_a_success_of_the_first_step_lets_the_job_wait_in_the_next_lane(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)

    ended = await store.advance([passed(first.attempt_id, time, output='{"seen":2}')])

    assert told(ended) == ({first.attempt_id}, [job_id], [])
    job = await see(store, job_id)
    assert (job.state, job.step, job.attempt, job.lane) == (JobState.QUEUED, 2, 1, SECOND_LANE)
    assert (job.cost_usd, job.result) == (0.25, None)
    [attempt] = job.attempts
    assert (attempt.step, attempt.outcome, attempt.model) == (1, AttemptOutcome.SUCCEEDED, "gemini-3.8-flash")
    assert await store.step_outputs([job_id]) == {job_id: '{"seen":2}'}
    assert not await claim(store)
    [second] = await claim(store, lane=SECOND_LANE)
    assert (second.attempt_id, second.step, second.lane) == ((job_id, 2), 2, SECOND_LANE)
    assert (second.rank, second.seq) == (first.rank, first.seq)
    assert second.queued_time > first.start_time


async def test_both_lanes_are_known_from_the_submission_on(store: Store, time: StoreClock) -> None:
    await insert(store, CLIENT, [new_job(time, post_process=SECOND)])

    assert [lane.name for lane in await store.lanes()] == [SECOND_LANE, LANE]


async def test_the_last_step_ends_the_job_with_its_own_attempt(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time)

    ended = await store.finish([success(second.attempt_id, time, step=2, cost_usd=0.125, output="[]")])

    assert told(ended) == ({second.attempt_id}, [second.attempt_id.job_id], [])
    job = await see(store, second.attempt_id.job_id)
    assert (job.state, job.step, job.attempt, job.cost_usd) == (JobState.SUCCEEDED, 2, 2, 0.375)
    assert job.result is not None
    assert (job.result.output_json, job.result.cost_usd) == ("[]", 0.375)
    assert [(each.step, each.model) for each in job.attempts] == [(1, "gemini-3.8-flash"), (2, "deepseek-v4-flash")]


async def test_a_job_keeps_its_place_in_the_next_lane(store: Store, time: StoreClock) -> None:
    early, late, high = await insert(
        store, CLIENT, [new_job(time, post_process=SECOND, priority=priority) for priority in (2, 2, 1)]
    )
    attempts = {job.attempt_id.job_id: job.attempt_id for job in await claim(store)}

    for job_id in (late, early, high):
        await store.advance([passed(attempts[job_id], time)])

    second = await claim(store, lane=SECOND_LANE)
    assert [job.attempt_id.job_id for job in second] == [high, early, late]


async def test_a_claim_that_passed_a_place_by_finds_the_job_that_comes_to_it_later(
    store: Store, time: StoreClock
) -> None:
    await insert(store, CLIENT, [new_job(time, post_process=SECOND) for _ in range(2)])
    first, second = await claim(store)
    await store.advance([passed(second.attempt_id, time)])
    await claim(store, lane=SECOND_LANE)

    await store.advance([passed(first.attempt_id, time)])

    assert [job.attempt_id.job_id for job in await claim(store, lane=SECOND_LANE)] == [first.attempt_id.job_id]


async def test_a_step_counts_its_failures_anew(store: Store, time: StoreClock) -> None:
    await connect(store)
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)
    await store.give_back([flawed(first.attempt_id, time, "NOT_JSON")])
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time, died_preparing=True)])
    [first] = await claim(store)
    assert (first.retry_count, first.flaws) == (1, ("NOT_JSON",))
    before = running_job(retry_count=1, paid_calls=1, preparing_deaths=1, flaws=("NOT_JSON",))
    assert await store.find_running([first.attempt_id]) == {first.attempt_id: before}

    await store.advance([passed(first.attempt_id, time)])

    assert (await see(store, job_id)).retry_count == 0
    [second] = await claim(store, lane=SECOND_LANE)
    assert (second.retry_count, second.flaws) == (0, ())
    assert await store.find_running([second.attempt_id]) == {second.attempt_id: running_job(lane=SECOND_LANE, step=2)}


async def test_flaws_are_kept_in_their_order_until_the_job_ends(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    for flaw in ("EMPTY", "", "LOOPING"):
        [job] = await claim(store)
        await store.give_back([flawed(job.attempt_id, time, flaw)])

    [job] = await claim(store)

    assert job.flaws == ("EMPTY", "LOOPING")
    [running] = (await store.running_on("e1", 1)).values()
    assert running.flaws == ("EMPTY", "LOOPING")


async def test_a_late_success_of_the_first_step_advances_the_job_and_stops_the_newer_attempt(
    store: Store, time: StoreClock
) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)
    await store.give_back([lost(first.attempt_id, time)])
    [newer] = await claim(store, executor_id="e2", session=5)

    ended = await store.advance([passed(first.attempt_id, time)])

    assert told(ended) == ({first.attempt_id}, [job_id], [RunningAttempt(newer.attempt_id, "e2", 5)])
    job = await see(store, job_id)
    assert (job.state, job.step, job.attempt) == (JobState.QUEUED, 2, 2)
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.SUCCEEDED, AttemptOutcome.CANCELLED]
    assert [each.executor_id for each in job.attempts] == ["e1", "e2"]


@pytest.mark.parametrize("after_seconds", [None, 3600.0])
async def test_a_late_success_of_the_first_step_advances_a_job_that_waits(
    store: Store, time: StoreClock, after_seconds: float | None
) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)
    await store.give_back([back(first.attempt_id, time, after_seconds=after_seconds)])

    ended = await store.advance([passed(first.attempt_id, time)])

    assert told(ended) == ({first.attempt_id}, [job_id], [])
    job = await see(store, job_id)
    assert (job.state, job.next_attempt_time) == (JobState.QUEUED, None)
    assert len(await claim(store, lane=SECOND_LANE)) == 1


async def test_a_success_of_a_step_that_is_over_changes_nothing(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time)
    first = AttemptId(second.attempt_id.job_id, 1)

    assert told(await store.advance([passed(first, time)])) == (set(), [], [])
    assert told(await store.finish([success(first, time, step=1)])) == (set(), [], [])

    assert set(await store.find_running([second.attempt_id])) == {second.attempt_id}
    assert await store.step_outputs([first.job_id]) == {first.job_id: '{"first":1}'}


async def test_a_first_step_does_not_end_a_job_and_a_last_one_does_not_advance_it(
    store: Store, time: StoreClock
) -> None:
    await insert(store, CLIENT, [new_job(time, post_process=SECOND), new_job(time)])
    two, one = [job.attempt_id for job in await claim(store)]

    assert told(await store.finish([success(two, time)])) == (set(), [], [])
    assert told(await store.advance([passed(one, time)])) == (set(), [], [])

    assert len(await store.find_running([two, one])) == 2
    assert await store.step_outputs([two.job_id, one.job_id]) == {}


async def test_a_success_of_a_step_that_is_not_reached_yet_does_not_advance_the_job(
    store: Store, time: StoreClock
) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)

    assert told(await store.advance([passed(first.attempt_id, time, step=2)])) == (set(), [], [])

    assert (await see(store, job_id)).step == 1


async def test_a_job_is_past_its_first_step_while_what_that_gave_is_kept(store: Store, time: StoreClock) -> None:
    leader, follower = await submit_alike(store, time, 2, 2, post_process=SECOND)
    [first] = await claim(store)
    assert not await store.past_first_step([leader, follower])

    await store.advance([passed(first.attempt_id, time)])
    [second] = await claim(store, lane=SECOND_LANE)
    await store.finish([failure(second.attempt_id, time, FINAL_ERROR)])

    assert [(await see(store, job_id)).step for job_id in (leader, follower)] == [2, 2]
    assert set(await store.past_first_step([leader, follower])) == {leader}


async def test_what_was_never_begun_does_not_advance_its_job(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])

    ended = [await store.advance([passed(AttemptId(job_id, attempt), time)]) for attempt in (0, 1)]

    assert [told(each) for each in ended] == [(set(), [], [])] * 2


async def test_a_failure_of_the_second_step_goes_back_to_the_second_lane(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time)

    assert await store.give_back([back(second.attempt_id, time, charged=True)]) == {second.attempt_id}

    assert not await claim(store)
    [again] = await claim(store, lane=SECOND_LANE)
    assert (again.attempt_id.attempt, again.step, again.retry_count) == (3, 2, 1)


async def test_a_success_of_the_first_step_ends_the_failures_in_a_row_of_its_lane_alone(
    store: Store, time: StoreClock
) -> None:
    await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    for name in (LANE, SECOND_LANE):
        await store.change_lane(name, lambda known: (dataclasses.replace(known, throttles=3), None))
    [first] = await claim(store)

    await store.advance([passed(first.attempt_id, time)])

    assert {lane.name: lane.throttles for lane in await store.lanes()} == {LANE: 0, SECOND_LANE: 3}


async def test_a_success_of_a_step_that_is_over_ends_no_failures_in_a_row(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time)
    await store.change_lane(SECOND_LANE, lambda known: (dataclasses.replace(known, throttles=3), None))

    await store.advance([passed(AttemptId(second.attempt_id.job_id, 1), time)])

    assert {lane.name: lane.throttles for lane in await store.lanes()} == {LANE: 0, SECOND_LANE: 3}


async def test_an_executor_keeps_what_it_holds_of_the_second_step(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    second = await claim_second_step(store, time)
    await store.give_back([lost(second.attempt_id, time)])

    registration = await store.register(executor(), [second.attempt_id])

    kept = running_job(lane=SECOND_LANE, session=session + 1, step=2)
    assert registration.held == {second.attempt_id: kept}


async def test_a_lost_attempt_at_a_step_that_is_over_is_not_taken_back_into_the_next_one(
    store: Store, time: StoreClock
) -> None:
    await connect(store)
    await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    for _ in range(2):
        [attempt] = await claim(store)
        await store.give_back([lost(attempt.attempt_id, time)])
    await store.advance([passed(AttemptId(attempt.attempt_id.job_id, 1), time)])

    registration = await store.register(executor(), [attempt.attempt_id])

    assert (registration.held, registration.orphaned) == ({}, {})
    job = await see(store, attempt.attempt_id.job_id)
    assert (job.state, job.step) == (JobState.QUEUED, 2)
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.SUCCEEDED, AttemptOutcome.LOST]


async def test_an_executor_does_not_keep_an_attempt_of_a_step_that_is_over(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store, session=session)
    await store.give_back([lost(first.attempt_id, time)])
    [newer] = await claim(store, session=session)
    await store.give_back([lost(newer.attempt_id, time)])
    await store.advance([passed(first.attempt_id, time)])

    registration = await store.register(executor(), [newer.attempt_id])

    assert (registration.held, registration.orphaned) == ({}, {})
    assert (await see(store, job_id)).state is JobState.QUEUED


async def test_lists_find_a_job_in_the_lane_of_the_step_it_is_in_or_ended_in(store: Store, time: StoreClock) -> None:
    ended = await claim_second_step(store, time)
    await store.finish([success(ended.attempt_id, time, step=2)])
    running = await claim_second_step(store, time)
    [failed] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)
    await store.finish([failure(first.attempt_id, time)])
    [waiting] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])

    assert await names_of(store, SECOND_LANE) == [running.attempt_id.job_id, ended.attempt_id.job_id]
    assert await names_of(store, LANE) == [waiting, failed]


async def test_followers_share_what_the_last_step_gave(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time, dedup_key=KEY)
    leader = second.attempt_id.job_id
    [follower] = await submit_alike(store, time, 2, post_process=SECOND)

    ended = await store.finish([success(second.attempt_id, time, step=2, output="[1]")])
    [cached] = await submit_alike(store, time, 2, post_process=SECOND)

    assert sorted(ended.changed) == [leader, follower]
    for job_id in (follower, cached):
        job = await see(store, job_id)
        assert (job.state, job.step, job.attempt, job.cost_usd) == (JobState.SUCCEEDED, 2, 0, 0.0)
        assert job.result is not None
        assert job.result.output_json == "[1]"


@pytest.mark.parametrize("how", ["fails", "is cancelled", "expires"])
async def test_a_follower_takes_over_the_step_its_leader_was_in(store: Store, time: StoreClock, how: str) -> None:
    second = await claim_second_step(store, time, dedup_key=KEY)
    follower, other = await submit_alike(store, time, 2, 1, post_process=SECOND)

    match how:
        case "fails":
            ended = await store.finish([failure(second.attempt_id, time, ERROR)])
        case "expires":
            expired = dataclasses.replace(failure(second.attempt_id, time), state=JobState.EXPIRED)
            ended = await store.finish([expired])
        case _:
            ended = await store.cancel(CLIENT, [second.attempt_id.job_id])

    assert set(ended.changed) == {second.attempt_id.job_id, follower}
    promoted = await see(store, follower)
    assert (promoted.state, promoted.step, promoted.leader) == (JobState.QUEUED, 2, None)
    assert await store.step_outputs([follower]) == {follower: '{"first":1}'}
    assert not await claim(store)
    [claimed] = await claim(store, lane=SECOND_LANE)
    assert (claimed.attempt_id, claimed.step, claimed.rank) == ((follower, 1), 2, 1)
    await store.finish([success(claimed.attempt_id, time, step=2)])
    assert (await see(store, other)).state is JobState.SUCCEEDED


async def test_a_follower_of_a_leader_that_failed_in_its_first_step_begins_there(
    store: Store, time: StoreClock
) -> None:
    _, follower = await submit_alike(store, time, 2, 2, post_process=SECOND)
    [first] = await claim(store)

    await store.finish([failure(first.attempt_id, time, ERROR)])

    assert (await see(store, follower)).step == 1
    assert await store.step_outputs([follower]) == {}
    [claimed] = await claim(store)
    assert (claimed.attempt_id.job_id, claimed.step) == (follower, 1)


async def test_followers_share_a_failure_of_the_last_step_that_is_final(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time, dedup_key=KEY)
    [follower] = await submit_alike(store, time, 2, post_process=SECOND)

    await store.finish([failure(second.attempt_id, time, FINAL_ERROR)])

    job = await see(store, follower)
    assert (job.state, job.step, job.error) == (JobState.FAILED, 2, FINAL_ERROR)


async def failed_at_second_step(store: Store, time: StoreClock) -> str:
    second = await claim_second_step(store, time)
    await store.finish([failure(second.attempt_id, time)])
    return second.attempt_id.job_id


async def test_a_job_that_begins_at_the_second_step_has_what_its_predecessor_was_given(
    store: Store, time: StoreClock
) -> None:
    former = await failed_at_second_step(store, time)
    again = dataclasses.replace(new_job(time, post_process=SECOND), retried_from=former, step=2)

    [job_id] = await insert(store, CLIENT, [again])

    job = await see(store, job_id)
    assert (job.step, job.lane, job.state) == (2, SECOND_LANE, JobState.QUEUED)
    assert await store.step_outputs([job_id, former]) == {job_id: '{"first":1}', former: '{"first":1}'}
    [claimed] = await claim(store, lane=SECOND_LANE)
    assert (claimed.attempt_id, claimed.step) == ((job_id, 1), 2)
    ended = await store.finish([success(claimed.attempt_id, time, step=2)])
    assert list(ended.changed) == [job_id]


async def test_a_job_whose_predecessor_has_nothing_to_give_begins_at_the_first_step(
    store: Store, time: StoreClock
) -> None:
    [former] = await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    await store.cancel(CLIENT, [former])
    others = [
        dataclasses.replace(new_job(time, post_process=SECOND, dedup_key=key), retried_from=former, step=2)
        for key in (None, KEY)
    ]

    submitted = await insert(store, CLIENT, others)

    assert [(await see(store, job_id)).step for job_id in submitted] == [1, 1]
    assert len(await claim(store)) == 2


async def test_a_job_that_begins_at_the_second_step_may_share_a_result_or_follow(
    store: Store, time: StoreClock
) -> None:
    former = await failed_at_second_step(store, time)
    jobs = [
        dataclasses.replace(new_job(time, post_process=SECOND, dedup_key=KEY), retried_from=former, step=2)
        for _ in range(3)
    ]
    leader, follower = await insert(store, CLIENT, jobs[:2])
    assert (await see(store, follower)).leader == leader
    [claimed] = await claim(store, lane=SECOND_LANE)

    await store.finish([failure(claimed.attempt_id, time, ERROR)])
    [promoted] = await claim(store, lane=SECOND_LANE)
    assert (promoted.attempt_id.job_id, promoted.step) == (follower, 2)
    await store.finish([success(promoted.attempt_id, time, step=2)])

    [cached] = await insert(store, CLIENT, jobs[2:])
    assert (await see(store, cached)).state is JobState.SUCCEEDED
    assert await store.step_outputs([cached]) == {}


async def test_specs_of_jobs_are_told_with_their_clients(store: Store, time: StoreClock) -> None:
    job = new_job(time, post_process=SECOND)
    await insert(store, CLIENT, [job])

    assert await store.specs_of([job.job_id, new_job(time).job_id]) == {job.job_id: (CLIENT, job.spec)}


async def test_an_image_with_an_address_need_not_be_stored(store: Store, time: StoreClock) -> None:
    image = ImageRef(sha256="", mime_type="", size=0, uri="https://images.example/1.png")

    [job_id] = await insert(store, CLIENT, [new_job(time, images=(image,))])

    assert (await see(store, job_id)).spec.images == (image,)
