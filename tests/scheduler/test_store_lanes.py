"""Conformance of the stores: the lanes, the switch for submissions, and the words from scheduler to scheduler."""

import asyncio
import dataclasses
import datetime

import pytest
from stores import CLIENT, LANE, back, change, claim, failure, insert, lane, new_job, submit, success

from policies.breaker import Breaker
from policies.quota import Limits, Pace, Window
from runtime.clock import SystemClock
from scheduler.lanes import Lane
from scheduler.ports import Store, StoreClock
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.records import AttemptId, LaneLoad, RunningAttempt

JOB_ID = "01990000-0000-7000-8000-000000000000"
STOP = RunningAttempt(AttemptId(JOB_ID, 1), "e1", 2)
OTHER_STOP = RunningAttempt(AttemptId(JOB_ID, 2), "e2", 1)


def count(known: Lane) -> tuple[Lane, int]:
    """Count one failure more, and answer how many there were."""
    failures = known.breaker.failures
    return dataclasses.replace(known, breaker=Breaker(failures=failures + 1)), failures


async def test_lanes_are_added_once_and_listed_by_name(store: Store) -> None:
    assert await store.lanes() == []

    await store.add_lanes(["gemini/b", "gemini/a"])
    await store.change_lane("gemini/a", count)
    await store.add_lanes(["gemini/a", "gemini/c"])

    assert await store.lanes() == [
        Lane(name="gemini/a", breaker=Breaker(failures=1)),
        Lane(name="gemini/b"),
        Lane(name="gemini/c"),
    ]


async def test_a_submission_adds_its_lane_and_a_claim_none(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await store.claim("gemini/unknown", [], max_rank=3, thorough=True)

    assert await store.lanes() == [Lane(name=LANE)]


async def test_a_lane_is_kept_with_all_that_is_known_of_it(store: Store, time: StoreClock) -> None:
    now = time.now()
    full = Lane(
        name=LANE,
        paused=True,
        stopped_reason="Billing is depleted.",
        limits=Limits(
            requests_per_minute=10,
            input_tokens_per_minute=20_000,
            requests_per_day=300,
            max_in_flight=4,
            dollars_per_10_minutes=0.75,
        ),
        pace=Pace(
            next_permit_time=now + datetime.timedelta(seconds=6),
            day=datetime.date(2026, 11, 24),
            day_count=12,
            tokens=Window(3_500_000_000, (1.0, 0.0, 250.0)),
            dollars=Window(350_000_000, (0.125,)),
        ),
        closed_until=now + datetime.timedelta(seconds=30),
        throttles=2,
        breaker=Breaker(failures=5, open_until=now + datetime.timedelta(minutes=5), probe=(JOB_ID, 3)),
    )
    await store.add_lanes([LANE])

    assert await store.change_lane(LANE, lambda _: (full, "answer")) == (full, "answer")
    assert await store.lanes() == [full]

    empty = Lane(name=LANE)
    await store.change_lane(LANE, lambda _: (empty, None))
    assert await store.lanes() == [empty]


async def test_an_unknown_lane_is_not_changed(store: Store) -> None:
    assert await store.change_lane("gemini/unknown", count) is None
    assert await store.lanes() == []


async def test_a_decision_that_changes_nothing_is_answered(store: Store) -> None:
    await store.add_lanes([LANE])

    assert await store.change_lane(LANE, lambda known: (known, 7)) == (Lane(name=LANE), 7)


async def test_a_decision_that_fails_changes_nothing(store: Store) -> None:
    await store.add_lanes([LANE])

    def refuse(_: Lane) -> tuple[Lane, None]:
        raise ValueError("No")

    with pytest.raises(ValueError, match="No"):
        await store.change_lane(LANE, refuse)
    assert await store.lanes() == [Lane(name=LANE)]


async def test_of_many_changes_at_once_none_is_lost(store: Store) -> None:
    await store.add_lanes([LANE])

    async with asyncio.TaskGroup() as tasks:
        changes = [tasks.create_task(store.change_lane(LANE, count)) for _ in range(60)]
    answers = [change.result() for change in changes]

    assert (await lane(store)).breaker.failures == 60
    assert sorted(answer[1] for answer in answers if answer) == list(range(60))


async def test_of_many_changes_by_two_schedulers_none_is_lost(postgres_store: PostgresStore, store_url: str) -> None:
    await postgres_store.add_lanes([LANE])

    async with open_store(store_url, clock=SystemClock()) as other, asyncio.TaskGroup() as tasks:
        for store in [postgres_store, other] * 30:
            tasks.create_task(store.change_lane(LANE, count))

    assert (await lane(postgres_store)).breaker.failures == 60


async def test_a_change_keeps_what_a_claim_and_a_success_wrote(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    await change(store, breaker=Breaker(failures=2), throttles=3)
    [job, _] = await claim(store)
    await store.finish([success(job.attempt_id, time)])

    paused = await change(store, paused=True)

    assert paused == Lane(name=LANE, paused=True)


async def test_a_failure_that_ends_its_job_does_not_end_the_failures_in_a_row(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    await change(store, breaker=Breaker(failures=2), throttles=3)
    [job] = await claim(store)

    await store.finish([failure(job.attempt_id, time)])

    after = await lane(store)
    assert (after.breaker.failures, after.throttles) == (2, 3)


async def test_lanes_tell_how_many_jobs_wait_and_run_in_them(store: Store, time: StoreClock) -> None:
    assert await store.lane_loads() == {}
    await submit(store, time, *[2] * 5)
    await insert(store, CLIENT, [new_job(time, model="gemini-3.5-flash")])
    done, retried, _ = await claim(store, 3)
    await store.finish([success(done.attempt_id, time)])
    await store.give_back([back(retried.attempt_id, time, after_seconds=60)])

    assert await store.lane_loads() == {
        LANE: LaneLoad(waiting=3, running=1),
        "gemini/gemini-3.5-flash": LaneLoad(waiting=1, running=0),
    }


async def test_submissions_are_taken_until_somebody_says_no(store: Store) -> None:
    assert await store.is_accepting()
    for accepting in (False, False, True):
        await store.set_accepting(accepting=accepting)
        assert await store.is_accepting() is accepting


async def test_a_word_to_stop_is_taken_once(store: Store) -> None:
    assert list(await store.take_stops()) == []
    await store.post_stops([STOP, OTHER_STOP])

    assert list(await store.take_stops()) == [STOP, OTHER_STOP]
    assert list(await store.take_stops()) == []
    await store.post_stops([STOP])
    assert list(await store.take_stops()) == [STOP]


async def test_every_scheduler_takes_every_word(postgres_store: PostgresStore, store_url: str) -> None:
    async with open_store(store_url, clock=SystemClock()) as other:
        await postgres_store.post_stops([STOP])
        assert list(await postgres_store.take_stops()) == [STOP]
        await other.post_stops([OTHER_STOP])

        assert list(await postgres_store.take_stops()) == [OTHER_STOP]
        assert list(await other.take_stops()) == [STOP, OTHER_STOP]
        for store in (postgres_store, other):
            assert list(await store.take_stops()) == []
