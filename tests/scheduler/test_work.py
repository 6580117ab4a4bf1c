import datetime

from scheduler_peers import Executor, dial, succeeded
from scheduler_world import World, fail_times, looping, settle
from stores import submit

from devkit.virtual_time import in_virtual_time
from scheduler.fleet import Assignment, Heartbeat, HeartbeatEcho, OutcomeAck, Permit, Stop, Welcome, Withdraw
from scheduler.jobs import AttemptOutcome, JobState, Stage
from scheduler.records import AttemptId

STRANGER = AttemptId("01990000-0000-7000-8000-000000000000", 1)


async def holding(world: World, count: int = 1) -> tuple[Executor, list[AttemptId]]:
    """Return an executor that runs so many attempts, and has said so."""
    executor, attempts = await sent(world, count)
    await executor.say(accepted=attempts)
    return executor, attempts


async def sent(world: World, count: int = 1) -> tuple[Executor, list[AttemptId]]:
    """Return an executor to which assignments were sent, and which has not said anything of them."""
    executor = await dial(world, slots=count)
    await submit(world.store, world.clock, *[2] * count)
    async with looping(world.dispatcher.run):
        return executor, [item.job.attempt_id for item in await executor.hear(Assignment, count)]


@in_virtual_time
async def test_a_welcome_names_the_session_and_what_others_have_got_meanwhile() -> None:
    world = World()
    executor = await dial(world, held=[STRANGER])

    [welcome] = await executor.hear(Welcome)

    assert (welcome.session, welcome.superseded) == (1, [STRANGER])
    assert welcome.heartbeat_interval == datetime.timedelta(seconds=3)
    assert welcome.lost_after == datetime.timedelta(seconds=10)


@in_virtual_time
async def test_an_executor_that_dials_again_keeps_what_it_holds_and_may_go_on_with_it() -> None:
    world = World()
    _, [attempt] = await holding(world)

    again = await dial(world, held=[attempt])
    async with looping(world.permits.run, world.completer.run):
        await again.say(ready=[attempt])
        await again.hear(Permit)
        await again.tell(succeeded(attempt))
        await again.hear(OutcomeAck)

    assert (await again.hear(Welcome))[0].superseded == []
    assert (await world.see(attempt.job_id)).state is JobState.SUCCEEDED


@in_virtual_time
async def test_an_assignment_that_never_arrived_comes_back_with_the_hello_that_does_not_name_it() -> None:
    world = World()
    _, [attempt, lost] = await sent(world, 2)

    await dial(world, held=[attempt])

    assert await world.states([attempt.job_id, lost.job_id]) == [JobState.RUNNING, JobState.QUEUED]
    job = await world.see(lost.job_id)
    assert job.retry_count == 0
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.RELEASED]


@in_virtual_time
async def test_a_heartbeat_is_echoed_after_it_is_stored() -> None:
    world = World()
    executor = await dial(world)
    world.store.before["touch"] = fail_times(1)

    await executor.say(heartbeat=Heartbeat(number=1))
    assert await executor.has_heard(HeartbeatEcho) == []
    await executor.say(heartbeat=Heartbeat(number=2))

    assert await executor.hear(HeartbeatEcho) == [HeartbeatEcho(2)]


@in_virtual_time
async def test_a_session_that_is_over_is_told_so_by_its_heartbeat() -> None:
    world = World()
    executor = await dial(world)
    await world.store.register(executor.session.info, ())

    await executor.say(heartbeat=Heartbeat(number=1))

    assert executor.session.outbox.closed_because
    assert HeartbeatEcho(1) not in await executor.session.outbox.take()


@in_virtual_time
async def test_an_assignment_that_is_not_accepted_in_2_s_is_withdrawn_and_returns_when_the_executor_says_so() -> None:
    world = World()
    async with world.running():
        executor = await dial(world, slots=1)
        [job_id] = await submit(world.store, world.clock)
        world.dispatcher.wake()
        [assignment] = await executor.hear(Assignment)
        attempt, sent_at = assignment.job.attempt_id, world.clock.monotonic()
        assert await executor.hear(Withdraw) == [Withdraw(attempt)]
        assert 2 <= world.clock.monotonic() - sent_at < 3.1

        # It is the executor's until it has answered, however long that takes, whatever its lists say.
        for number in range(1, 20):
            await world.clock.sleep(1)
            await executor.beat(number=number)
        assert (await world.see(job_id)).state is JobState.RUNNING
        assert await executor.has_heard(Withdraw) == []

        await executor.say(withdrawn=[attempt])
        job = await world.see(job_id)

    assert (job.state, job.retry_count) == (JobState.QUEUED, 0)
    assert [each.outcome for each in job.attempts] == [AttemptOutcome.RELEASED]


@in_virtual_time
async def test_an_accepted_assignment_is_not_withdrawn() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await world.clock.sleep(10)

    world.work.withdraw_unaccepted()

    assert await executor.has_heard(Withdraw) == []
    assert not executor.session.held[attempt].withdrawn


@in_virtual_time
async def test_a_withdrawn_attempt_returns_with_the_end_of_its_session_too() -> None:
    world = World()
    executor, [attempt] = await sent(world)
    await world.clock.sleep(3)
    world.work.withdraw_unaccepted()
    world.work.close(executor.session)

    await dial(world)

    assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_a_withdrawal_that_could_not_be_stored_is_made_up_for_by_the_next_lists() -> None:
    world = World()
    executor, [attempt] = await sent(world)
    executor.session.withdraw([attempt])
    world.store.before["running_on"] = fail_times(1)

    await executor.say(withdrawn=[attempt])
    assert (await world.see(attempt.job_id)).state is JobState.RUNNING
    await executor.beat()
    await executor.beat()

    assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_a_running_attempt_that_is_missing_in_two_lists_in_a_row_returns() -> None:
    world = World()
    executor, [kept, lost] = await holding(world, 2)

    await executor.beat(kept)
    assert await world.states([kept.job_id, lost.job_id]) == [JobState.RUNNING, JobState.RUNNING]
    await executor.beat(kept)

    assert await world.states([kept.job_id, lost.job_id]) == [JobState.RUNNING, JobState.QUEUED]


@in_virtual_time
async def test_an_attempt_that_is_missing_in_every_other_list_stays() -> None:
    world = World()
    executor, [attempt] = await holding(world)

    for _ in range(3):
        await executor.beat()
        await executor.beat(attempt)

    assert (await world.see(attempt.job_id)).state is JobState.RUNNING


@in_virtual_time
async def test_a_heartbeat_without_a_list_says_nothing_of_what_is_held() -> None:
    world = World()
    executor, [attempt] = await holding(world)

    await executor.beat()
    await executor.say(heartbeat=Heartbeat(number=2))
    assert (await world.see(attempt.job_id)).state is JobState.RUNNING
    await executor.beat()

    assert (await world.see(attempt.job_id)).state is JobState.QUEUED


@in_virtual_time
async def test_a_held_attempt_that_does_not_run_any_more_is_stopped() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await world.store.cancel("client", [attempt.job_id])

    await executor.beat(attempt, STRANGER)

    assert {stop.attempt_id for stop in await executor.has_heard(Stop)} == {attempt, STRANGER}


@in_virtual_time
async def test_a_list_is_not_compared_while_the_store_is_away() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.before["running_on"] = fail_times(1)

    await executor.beat(STRANGER)

    assert await executor.has_heard(Stop) == []
    assert await executor.has_heard(HeartbeatEcho) == []
    assert (await world.see(attempt.job_id)).state is JobState.RUNNING


@in_virtual_time
async def test_progress_is_told_to_watchers_at_once_and_stored_soon() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    async with looping(world.stages.run):
        await executor.enter(attempt, Stage.FETCHING_IMAGE)
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        assert world.hub.entered[-2:] == [(attempt, Stage.FETCHING_IMAGE), (attempt, Stage.GEMINI_ANALYZING)]
        assert (await world.see(attempt.job_id)).stage is Stage.STARTING
        await world.clock.sleep(0.3)
        assert (await world.see(attempt.job_id)).stage is Stage.GEMINI_ANALYZING

    assert world.store.calls["note_stages"] == 1


@in_virtual_time
async def test_a_stage_that_could_not_be_stored_does_not_stop_the_next_ones() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.before["note_stages"] = fail_times(1)
    async with looping(world.stages.run):
        await executor.enter(attempt, Stage.FETCHING_IMAGE)
        await world.clock.sleep(0.3)
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        await world.clock.sleep(0.3)

    assert (await world.see(attempt.job_id)).stage is Stage.GEMINI_ANALYZING


@in_virtual_time
async def test_the_announcement_of_a_call_is_stored_although_the_store_was_away_for_a_moment() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.before["note_stages"] = fail_times(2)
    async with looping(world.stages.run):
        await executor.enter(attempt, Stage.GEMINI_ANALYZING)
        await world.clock.sleep(1)

    assert (await world.see(attempt.job_id)).stage is Stage.GEMINI_ANALYZING


@in_virtual_time
async def test_a_stage_that_its_executor_will_have_told_another_scheduler_is_not_stored_any_more() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    world.store.before["note_stages"] = fail_times(1_000)
    async with looping(world.stages.run):
        await executor.enter(attempt, Stage.FETCHING_IMAGE)
        await world.clock.sleep(5)
        del world.store.before["note_stages"]
        await world.store.note_stages({attempt: (Stage.GEMINI_ANALYZING, world.clock.now())})
        await world.clock.sleep(5)

    assert (await world.see(attempt.job_id)).stage is Stage.GEMINI_ANALYZING


@in_virtual_time
async def test_an_executor_that_left_gets_nothing_more_but_what_it_runs_goes_on() -> None:
    world = World()
    executor, [attempt] = await holding(world)
    await executor.offer(3)
    world.work.close(executor.session)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await world.clock.sleep(5)

    assert not world.fleet.has_credit
    assert await executor.has_heard(Assignment) == []
    assert (await world.see(attempt.job_id)).state is JobState.RUNNING


@in_virtual_time
async def test_credit_wakes_the_dispatcher() -> None:
    world = World()
    executor = await dial(world)
    await submit(world.store, world.clock)
    async with looping(world.dispatcher.run):
        await settle()
        await executor.offer(1)
        await executor.hear(Assignment)

    assert world.clock.monotonic() < 0.1
