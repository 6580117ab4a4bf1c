"""Conformance of the stores: which executors live, and what runs on those that do not."""

import dataclasses
import datetime

import pytest
from stores import CLIENT, LANE, Age, back, claim, connect, executor, new_job, running_job, see, submit, success

from scheduler.callers import ANONYMOUS
from scheduler.errors import ExecutorNotYours
from scheduler.jobs import JobState
from scheduler.ports import Store, StoreClock
from scheduler.records import AttemptId

# An executor that just gave a sign of life has been silent for NOTHING, but not for an HOUR.
NOTHING = datetime.timedelta(0)
HOUR = datetime.timedelta(hours=1)


async def test_the_session_rises_with_every_hello_of_the_same_executor(store: Store) -> None:
    assert [await connect(store, executor_id) for executor_id in ("e1", "e1", "e2", "e1")] == [1, 2, 1, 3]


async def test_an_executor_that_dials_again_keeps_what_it_holds(store: Store, time: StoreClock) -> None:
    await connect(store)
    await submit(store, time, 2, 2)
    held, unknown = await claim(store)

    registration = await store.register(executor(), [held.attempt_id, AttemptId(held.attempt_id.job_id, 7)])

    assert registration.session == 2
    assert registration.held == {held.attempt_id: running_job(session=2)}
    assert registration.orphaned == {unknown.attempt_id: running_job(session=1)}
    assert set(await store.find_running([held.attempt_id])) == {held.attempt_id}


async def test_what_an_executor_holds_counts_only_while_it_runs(store: Store, time: StoreClock) -> None:
    await connect(store)
    await submit(store, time, 2, 2, 2)
    done, returned, superseded = await claim(store)
    await store.give_back([back(returned.attempt_id, time, after_seconds=60), back(superseded.attempt_id, time)])
    await store.finish([success(done.attempt_id, time)])
    [again] = await claim(store, executor_id="e2")

    registration = await store.register(
        executor(), [done.attempt_id, returned.attempt_id, superseded.attempt_id, again.attempt_id]
    )

    assert registration.held == {}
    assert not registration.orphaned


async def test_an_executor_is_not_handed_what_another_one_runs(store: Store, time: StoreClock) -> None:
    await connect(store, "e1")
    await submit(store, time)
    [job] = await claim(store)

    registration = await store.register(executor("e2"), [job.attempt_id])

    assert registration.held == {}
    assert not registration.orphaned


async def test_an_orphaned_attempt_can_be_given_back(store: Store, time: StoreClock) -> None:
    await connect(store)
    [job_id] = await submit(store, time)
    await claim(store)

    registration = await store.register(executor(), [])
    await store.give_back([back(attempt, time) for attempt in registration.orphaned])

    assert (await see(store, job_id)).state is JobState.QUEUED


async def test_a_silent_executor_is_lost_and_its_session_is_over(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await submit(store, time)
    [job] = await claim(store, session=session)
    assert set(await store.declare_lost(HOUR)) == set()
    assert await store.touch("e1", session)

    assert set(await store.declare_lost(NOTHING)) == {job.attempt_id}

    assert not await store.touch("e1", session)
    # Until somebody gives the attempt back, it is told again.
    assert set(await store.declare_lost(HOUR)) == {job.attempt_id}
    await store.give_back([back(job.attempt_id, time)])
    assert set(await store.declare_lost(HOUR)) == set()


async def test_a_lost_executor_that_dials_again_keeps_what_nobody_gave_back(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await submit(store, time, 2, 2)
    kept, given_back = await claim(store, session=session)
    await store.declare_lost(NOTHING)
    await store.give_back([back(given_back.attempt_id, time)])

    registration = await store.register(executor(), [kept.attempt_id, given_back.attempt_id])

    assert set(registration.held) == {kept.attempt_id}
    assert await store.touch("e1", registration.session)
    assert set(await store.declare_lost(HOUR)) == set()


async def test_a_job_that_runs_again_for_an_executor_that_came_back_is_not_lost(store: Store, time: StoreClock) -> None:
    await submit(store, time)
    [lost] = await claim(store, session=await connect(store))
    await store.declare_lost(NOTHING)
    await store.give_back([back(lost.attempt_id, time)])

    [again] = await claim(store, session=await connect(store))

    assert set(await store.declare_lost(HOUR)) == set()
    assert set(await store.find_running([again.attempt_id])) == {again.attempt_id}


async def test_what_an_executor_held_is_lost_with_its_newer_session(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await submit(store, time)
    [job] = await claim(store, session=session)
    await connect(store, held=(job.attempt_id,))

    assert set(await store.declare_lost(NOTHING)) == {job.attempt_id}


async def test_a_sign_of_life_keeps_an_executor_and_what_it_runs(store: Store, time: StoreClock, age: Age) -> None:
    await submit(store, time, 2, 2)
    for executor_id in ("e1", "e2"):
        await connect(store, executor_id)
    await claim(store, 1, executor_id="e1")
    [silent] = await claim(store, 1, executor_id="e2")

    await age(1.5 * HOUR)
    assert await store.touch("e1", 1)

    assert set(await store.served_lanes(HOUR)) == {"gemini/*"}
    assert set(await store.declare_lost(HOUR)) == {silent.attempt_id}
    assert await store.touch("e1", 1)
    assert not await store.touch("e2", 1)


async def test_only_executors_that_were_seen_lately_serve_their_lanes(store: Store, age: Age) -> None:
    await connect(store)

    await age(1.5 * HOUR)

    assert set(await store.served_lanes(HOUR)) == set()
    assert set(await store.served_lanes(2 * HOUR)) == {"gemini/*"}


async def test_what_a_lost_session_ran_is_told_although_its_executor_dialled_again(
    store: Store, time: StoreClock
) -> None:
    session = await connect(store)
    await submit(store, time)
    [job] = await claim(store, session=session)
    await store.declare_lost(NOTHING)
    await connect(store)

    assert set(await store.declare_lost(HOUR)) == {job.attempt_id}


async def test_only_the_executors_that_are_silent_are_lost(store: Store, time: StoreClock) -> None:
    await submit(store, time, 2, 2)
    silent = await connect(store, "e1")
    [lost] = await claim(store, 1, executor_id="e1", session=silent)
    await store.declare_lost(NOTHING)
    living = await connect(store, "e2")
    await claim(store, 1, executor_id="e2", session=living)

    assert set(await store.declare_lost(HOUR)) == {lost.attempt_id}
    assert await store.touch("e2", living)


async def test_a_job_claimed_for_a_session_that_is_lost_meanwhile_is_found(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await store.declare_lost(NOTHING)
    await submit(store, time)

    [job] = await claim(store, session=session)

    assert set(await store.declare_lost(HOUR)) == {job.attempt_id}


async def test_a_late_success_of_a_lost_executor_is_taken(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    [job_id] = await submit(store, time)
    [job] = await claim(store, session=session)
    await store.declare_lost(NOTHING)

    assert (await store.finish([success(job.attempt_id, time)])).attempts == {job.attempt_id}
    assert (await see(store, job_id)).state is JobState.SUCCEEDED
    assert set(await store.declare_lost(HOUR)) == set()


async def test_an_older_session_gives_no_sign_of_life(store: Store) -> None:
    old = await connect(store)
    new = await connect(store)

    assert not await store.touch("e1", old)
    assert await store.touch("e1", new)
    assert not await store.touch("e1", new + 1)
    assert not await store.touch("nobody", 1)


async def test_lanes_are_served_by_executors_that_live(store: Store) -> None:
    assert set(await store.served_lanes(HOUR)) == set()

    await store.register(executor("e1", "gemini/*"), [])
    await store.declare_lost(NOTHING)
    assert set(await store.served_lanes(HOUR)) == set()

    await store.register(executor("e2", "deepseek/*", LANE), [])
    assert set(await store.served_lanes(HOUR)) == {"deepseek/*", LANE}
    await store.register(executor("e1", "gemini/*"), [])
    assert set(await store.served_lanes(HOUR)) == {"gemini/*", "deepseek/*", LANE}
    assert set(await store.served_lanes(NOTHING)) == set()


async def test_an_executor_that_dials_again_serves_what_it_says_now(store: Store) -> None:
    await store.register(executor("e1", "gemini/*"), [])
    await store.register(executor("e1", "deepseek/*"), [])

    assert set(await store.served_lanes(HOUR)) == {"deepseek/*"}


async def test_jobs_of_all_clients_are_lost_alike(store: Store, time: StoreClock) -> None:
    session = await connect(store)
    await submit(store, time)
    await store.insert_jobs("other", [new_job(time)])
    claimed = await claim(store, session=session)

    assert {job.client_id for job in claimed} == {CLIENT, "other"}
    assert set(await store.declare_lost(NOTHING)) == {job.attempt_id for job in claimed}


async def test_a_job_claimed_for_an_older_session_after_a_new_hello_is_found(store: Store, time: StoreClock) -> None:
    old = await connect(store)
    await submit(store, time)
    await connect(store)

    [job] = await claim(store, session=old)

    assert await store.declare_lost(HOUR) == {job.attempt_id: running_job(session=old)}


async def test_an_executors_id_belongs_to_the_client_whose_key_said_hello(store: Store) -> None:
    mine = dataclasses.replace(executor("bound"), client_id="fleet", dial=1)
    await store.register(mine, [])

    with pytest.raises(ExecutorNotYours):
        await store.register(dataclasses.replace(mine, client_id="other", dial=2), [])
    with pytest.raises(ExecutorNotYours):
        await store.register(dataclasses.replace(mine, client_id=ANONYMOUS, dial=2), [])
    assert (await store.register(dataclasses.replace(mine, dial=2), [])).session == 2


async def test_an_executor_of_the_time_before_keys_gets_an_owner(store: Store) -> None:
    nobodys = dataclasses.replace(executor("early"), dial=1)
    await store.register(nobodys, [])

    await store.register(dataclasses.replace(nobodys, client_id="fleet", dial=2), [])

    with pytest.raises(ExecutorNotYours):
        await store.register(dataclasses.replace(nobodys, client_id="other", dial=3), [])


async def test_the_id_of_a_lost_executor_is_free_for_another_client(store: Store, age: Age) -> None:
    mine = dataclasses.replace(executor("moved"), client_id="fleet", dial=1)
    await store.register(mine, [])
    await age(HOUR)
    await store.declare_lost(datetime.timedelta(seconds=10))

    await store.register(dataclasses.replace(mine, client_id="other", dial=2), [])

    with pytest.raises(ExecutorNotYours):
        await store.register(dataclasses.replace(mine, dial=3), [])
