"""Conformance of the stores: every attempt's cost and every job's end is counted once, whatever happens to it."""

import dataclasses

import asyncpg
import pytest
from stores import (
    CLIENT,
    ERROR,
    KEY,
    MODEL,
    SECOND,
    SECOND_LANE,
    SECOND_MODEL,
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
    record,
    see,
    submit,
    submit_alike,
    success,
    used,
)

from scheduler.jobs import AttemptOutcome, JobError, JobState, Usage
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore
from scheduler.records import AttemptId, AttemptRecord, FinalRecord, ReturnRecord

Counts = tuple[int, float, float, int]

BAD_REQUEST = JobError(kind="BAD_REQUEST", message="400", retryable=False)


async def counted(store: Store, *group_by: str) -> dict[tuple[str, ...], Counts]:
    """Return jobs, cost, waste and unanswered calls by group."""
    return {
        group: (row.jobs, row.cost_usd, row.wasted_usd, row.unanswered_calls)
        for group, row in (await used(store, *group_by)).items()
    }


async def total(store: Store) -> Counts:
    return (await counted(store))[()]


def costing(final: FinalRecord, cost_usd: float) -> FinalRecord:
    return dataclasses.replace(final, record=dataclasses.replace(final.record, cost_usd=cost_usd))


def unanswered(returned: ReturnRecord) -> ReturnRecord:
    return dataclasses.replace(returned, record=dataclasses.replace(returned.record, unanswered=True, paid=True))


def told_late(attempt: AttemptId, time: StoreClock, outcome: AttemptOutcome, cost_usd: float = 0.5) -> AttemptRecord:
    return record(attempt, time, outcome, cost_usd=cost_usd)


async def test_a_success_counts_a_job_and_what_it_cost_and_took(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)

    await store.finish([success(job.attempt_id, time, cost_usd=0.5)])

    assert await counted(store, "model") == {(MODEL,): (1, 0.5, 0.0, 0)}
    assert (await used(store))[()].usage == Usage(input_tokens=1_200, output_tokens=30)


async def test_what_failed_is_wasted(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)
    await store.give_back([back(job.attempt_id, time, cost_usd=0.25)])
    assert await total(store) == (0, 0.25, 0.25, 0)
    [job] = await claim(store)

    await store.finish([costing(failure(job.attempt_id, time), 0.5)])

    assert await total(store) == (1, 0.75, 0.75, 0)


async def test_what_cost_nothing_leaves_no_trace(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)

    await store.give_back([back(job.attempt_id, time)])
    await store.advance([passed(job.attempt_id, time)])
    await store.note_late([told_late(job.attempt_id, time, AttemptOutcome.FAILED)])

    assert await counted(store, "model") == {}


async def test_what_is_not_taken_is_not_counted(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)
    await store.finish([success(job.attempt_id, time)])

    await store.finish([success(job.attempt_id, time)])
    await store.finish([costing(failure(job.attempt_id, time), 0.5)])
    await store.give_back([back(job.attempt_id, time, cost_usd=0.5)])
    await store.note_late([told_late(job.attempt_id, time, AttemptOutcome.FAILED)])

    assert await total(store) == (1, 0.5, 0.0, 0)


async def test_many_jobs_at_once_are_counted_each_for_its_user_and_labels(store: Store, time: StoreClock) -> None:
    whose = [("b", {"team": "red"}), ("a", {}), ("b", {"team": "red"}), ("b", {"team": "blue", "x": "1"})]
    await insert(store, CLIENT, [new_job(time, user_id=user, labels=labels) for user, labels in whose])
    await insert(store, "another", [new_job(time)])

    jobs = await claim(store)
    await store.give_back([back(job.attempt_id, time, cost_usd=0.25) for job in jobs])
    await store.finish([success(job.attempt_id, time, cost_usd=0.5) for job in await claim(store)])

    assert await counted(store, "user", "label:team") == {
        ("a", ""): (1, 0.75, 0.25, 0),
        ("b", "blue"): (1, 0.75, 0.25, 0),
        ("b", "red"): (2, 1.5, 0.5, 0),
    }


async def test_followers_and_cached_jobs_count_without_a_cost(store: Store, time: StoreClock) -> None:
    await submit_alike(store, time, 2, 2, user_id="a")
    await submit_alike(store, time, 2, user_id="b", labels={"team": "red"})
    [job] = await claim(store)

    await store.finish([success(job.attempt_id, time, cost_usd=0.5)])
    await submit_alike(store, time, 2, 2, user_id="c")

    assert await counted(store, "user", "model", "label:team") == {
        ("a", MODEL, ""): (2, 0.5, 0.0, 0),
        ("b", MODEL, "red"): (1, 0.0, 0.0, 0),
        ("c", MODEL, ""): (2, 0.0, 0.0, 0),
    }


async def test_followers_that_share_a_failure_count_and_one_that_is_promoted_does_not_yet(
    store: Store, time: StoreClock
) -> None:
    await submit_alike(store, time, 2, 2, 2)
    [job] = await claim(store)
    await store.finish([failure(job.attempt_id, time, ERROR)])
    assert await total(store) == (1, 0.0, 0.0, 0)
    [job] = await claim(store)

    await store.finish([failure(job.attempt_id, time, BAD_REQUEST)])

    assert await total(store) == (3, 0.0, 0.0, 0)


async def test_a_cancelled_job_counts_and_its_late_cost_is_wasted_once(store: Store, time: StoreClock) -> None:
    job_ids = await submit(store, time, 2, 2)
    [job] = await claim(store, 1)
    await store.cancel(CLIENT, job_ids)
    await store.cancel(CLIENT, job_ids)
    assert await total(store) == (2, 0.0, 0.0, 0)

    for _ in range(2):
        await store.note_late([told_late(job.attempt_id, time, AttemptOutcome.SUCCEEDED, 0.5)])

    assert await total(store) == (2, 0.5, 0.5, 0)
    assert (await used(store))[()].usage == Usage(input_tokens=1_200, output_tokens=30)


async def test_an_expired_job_counts(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [job] = await claim(store)

    await store.finish([dataclasses.replace(failure(job.attempt_id, time), state=JobState.EXPIRED)])

    assert await total(store) == (1, 0.0, 0.0, 0)


async def test_a_call_without_an_answer_is_counted_until_what_became_of_it_is_told(
    store: Store, time: StoreClock
) -> None:
    await submit(store, time)
    [job] = await claim(store)
    await store.give_back([unanswered(lost(job.attempt_id, time))])
    assert await total(store) == (0, 0.0, 0.0, 1)

    await store.note_late([told_late(job.attempt_id, time, AttemptOutcome.FAILED)])

    assert await total(store) == (0, 0.5, 0.5, 0)


async def test_a_late_success_is_no_waste_and_what_was_counted_of_its_loss_is_taken_back(
    store: Store, time: StoreClock
) -> None:
    await submit(store, time)
    [first] = await claim(store)
    loss = unanswered(lost(first.attempt_id, time))
    told = dataclasses.replace(loss.record, cost_usd=0.125, usage=Usage(input_tokens=5))
    await store.give_back([dataclasses.replace(loss, record=told)])
    assert await total(store) == (0, 0.125, 0.125, 1)
    [newer] = await claim(store)

    await store.finish([success(first.attempt_id, time, cost_usd=0.5)])
    assert await total(store) == (1, 0.5, 0.0, 0)
    assert (await used(store))[()].usage == Usage(input_tokens=1_200, output_tokens=30)
    await store.note_late([told_late(newer.attempt_id, time, AttemptOutcome.SUCCEEDED, 0.25)])

    assert await total(store) == (1, 0.75, 0.25, 0)


async def test_a_loss_that_was_none_is_not_counted(store: Store, time: StoreClock) -> None:
    await connect(store)
    await submit(store, time)
    [job] = await claim(store)
    loss = unanswered(lost(job.attempt_id, time))
    await store.give_back([dataclasses.replace(loss, record=dataclasses.replace(loss.record, cost_usd=0.125))])

    await store.register(executor(), [job.attempt_id])

    assert await total(store) == (0, 0.0, 0.0, 0)


async def test_the_steps_of_a_job_are_counted_under_their_models(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time)
    assert await counted(store, "model") == {(MODEL,): (0, 0.25, 0.0, 0)}

    await store.finish([success(second.attempt_id, time, step=2, cost_usd=0.5)])

    assert await counted(store, "model") == {(MODEL,): (0, 0.25, 0.0, 0), (SECOND_MODEL,): (1, 0.5, 0.0, 0)}


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_a_job_without_a_success_wastes_its_first_step_too(store: Store, time: StoreClock, how: str) -> None:
    second = await claim_second_step(store, time)

    if how == "fails":
        await store.finish([costing(failure(second.attempt_id, time), 0.5)])
    else:
        await store.cancel(CLIENT, [second.attempt_id.job_id])
        await store.note_late([told_late(second.attempt_id, time, AttemptOutcome.SUCCEEDED, 0.5)])

    assert await counted(store, "model") == {(MODEL,): (0, 0.25, 0.25, 0), (SECOND_MODEL,): (1, 0.5, 0.5, 0)}


async def test_a_first_step_that_was_of_no_use_already_is_not_wasted_twice(store: Store, time: StoreClock) -> None:
    await insert(store, CLIENT, [new_job(time, post_process=SECOND)])
    [first] = await claim(store)
    await store.give_back([unanswered(lost(first.attempt_id, time))])
    [newer] = await claim(store)
    await store.advance([passed(first.attempt_id, time, cost_usd=0.25)])
    await store.note_late([told_late(newer.attempt_id, time, AttemptOutcome.SUCCEEDED, 0.125)])
    assert await total(store) == (0, 0.375, 0.125, 0)
    [second] = await claim(store, lane=SECOND_LANE)

    await store.finish([failure(second.attempt_id, time)])

    assert await total(store) == (1, 0.375, 0.375, 0)


async def test_followers_count_in_the_step_their_leader_ended_in(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time, dedup_key=KEY)
    await submit_alike(store, time, 2, post_process=SECOND, user_id="follower")

    await store.finish([success(second.attempt_id, time, step=2, cost_usd=0.5)])
    await submit_alike(store, time, 2, post_process=SECOND, user_id="cached")

    assert await counted(store, "user", "model") == {
        ("cached", SECOND_MODEL): (1, 0.0, 0.0, 0),
        ("follower", SECOND_MODEL): (1, 0.0, 0.0, 0),
        ("user", MODEL): (0, 0.25, 0.0, 0),
        ("user", SECOND_MODEL): (1, 0.5, 0.0, 0),
    }


async def test_an_output_that_another_job_paid_for_is_wasted_there_alone(store: Store, time: StoreClock) -> None:
    second = await claim_second_step(store, time, dedup_key=KEY)
    await submit_alike(store, time, 2, post_process=SECOND, user_id="follower")
    await store.finish([failure(second.attempt_id, time, ERROR)])
    [promoted] = await claim(store, lane=SECOND_LANE)
    again = new_job(time, post_process=SECOND, user_id="retried")
    again = dataclasses.replace(again, retried_from=second.attempt_id.job_id, step=2)
    await insert(store, CLIENT, [again])
    [retried] = await claim(store, lane=SECOND_LANE)

    await store.finish([costing(failure(each.attempt_id, time), 0.5) for each in (promoted, retried)])

    assert await counted(store, "user", "model") == {
        ("follower", SECOND_MODEL): (1, 0.5, 0.5, 0),
        ("retried", SECOND_MODEL): (1, 0.5, 0.5, 0),
        ("user", MODEL): (0, 0.25, 0.25, 0),
        ("user", SECOND_MODEL): (1, 0.0, 0.0, 0),
    }


async def test_what_is_told_late_of_a_purged_job_is_counted_without_its_labels(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, labels={"patient": "x"})])
    [job] = await claim(store)
    await store.cancel(CLIENT, [job_id])
    await store.purge_user(CLIENT, "user")

    await store.note_late([told_late(job.attempt_id, time, AttemptOutcome.SUCCEEDED, 0.5)])

    assert await counted(store, "model", "label:patient") == {(MODEL, ""): (1, 0.5, 0.5, 0)}


async def test_a_loss_of_the_time_before_there_were_counts_is_not_taken_back(
    postgres_store: PostgresStore, store_url: str
) -> None:
    """Its row names no model, and nothing of it was counted."""
    time = postgres_store.time
    await submit(postgres_store, time)
    [job] = await claim(postgres_store)
    await postgres_store.give_back([lost(job.attempt_id, time)])
    older = await asyncpg.connect(store_url)
    await older.execute("UPDATE attempts SET model = '', cost_usd = 0.125")
    await older.close()

    await postgres_store.finish([success(job.attempt_id, time, cost_usd=0.5)])

    assert await counted(postgres_store, "model") == {(MODEL,): (1, 0.5, 0.0, 0)}
    assert [attempt.model for attempt in (await see(postgres_store, job.attempt_id.job_id)).attempts] == [MODEL]


async def test_what_is_taken_back_is_so_from_the_day_that_it_was_counted_for(
    postgres_store: PostgresStore, store_url: str
) -> None:
    time = postgres_store.time
    await submit(postgres_store, time)
    [job] = await claim(postgres_store)
    await postgres_store.give_back([unanswered(lost(job.attempt_id, time))])
    [(today,)] = await counted(postgres_store, "day")
    older = await asyncpg.connect(store_url)
    await older.execute("UPDATE attempts SET finish_time = finish_time - interval '1 day'")
    await older.execute("UPDATE usage_daily SET day = day - 1")
    await older.close()
    [(yesterday,)] = await counted(postgres_store, "day")

    await postgres_store.finish([success(job.attempt_id, time, cost_usd=0.5)])

    assert await counted(postgres_store, "day") == {(yesterday,): (0, 0.0, 0.0, 0), (today,): (1, 0.5, 0.0, 0)}
