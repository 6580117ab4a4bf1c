import datetime

import pytest
from scheduler_peers import Executor, dial, failed, released, submission, succeeded, throttled
from scheduler_world import OTHER_LANE, OTHER_MODEL, World, looping, settle
from stores import CLIENT, insert, new_job, submit

from devkit.virtual_time import EPOCH, in_virtual_time
from policies.breaker import Breaker
from scheduler.errors import BreakerOpen
from scheduler.fleet import Assignment, OutcomeAck
from scheduler.jobs import JobState, WaitReason
from scheduler.outcomes import Outcome, Throttled
from scheduler.records import AttemptId


def seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


async def holding(world: World, count: int) -> tuple[Executor, list[AttemptId]]:
    executor = await dial(world, slots=count)
    await submit(world.store, world.clock, *[2] * count)
    async with looping(world.dispatcher.run):
        return executor, await executor.receive(count)


async def tell(world: World, executor: Executor, *outcomes: Outcome) -> None:
    """Tell outcomes one after the other, each stored before the next."""
    async with looping(world.completer.run):
        for told in outcomes:
            await executor.tell(told)
            await executor.hear(OutcomeAck)


@in_virtual_time
async def test_a_429_closes_the_lane_for_exactly_the_providers_time_and_charges_nobody() -> None:
    world = World()
    executor, [attempt] = await holding(world, 1)
    await executor.offer(1)
    await world.board.refresh()
    async with looping(world.completer.run, world.dispatcher.run):
        await world.clock.sleep(0.3)
        closed_at = world.clock.now()
        await executor.tell(throttled(attempt, Throttled("slow down", retry_after=seconds(17.25))))
        await settle()
        assert (await world.lane()).closed_until == closed_at + seconds(17.25)
        waiting = world.read.with_wait(await world.see(attempt.job_id))
        [assignment] = await executor.hear(Assignment)

    assert waiting.wait is not None
    assert (waiting.wait.reason, waiting.wait.until_time) == (WaitReason.QUOTA, closed_at + seconds(17.25))
    assert seconds(0) <= world.clock.now() - closed_at - seconds(17.25) < seconds(0.01)
    assert assignment.job.attempt_id == AttemptId(attempt.job_id, 2)
    assert (await world.see(attempt.job_id)).retry_count == 0


@in_virtual_time
async def test_a_shorter_429_does_not_open_a_lane_early() -> None:
    world = World()
    executor, [first, second] = await holding(world, 2)

    await tell(
        world,
        executor,
        throttled(first, Throttled("slow down", retry_after=seconds(60))),
        throttled(second, Throttled("slow down", retry_after=seconds(5))),
    )

    assert (await world.lane()).closed_until == EPOCH + seconds(60)


@in_virtual_time
async def test_429s_without_a_time_back_off_from_30_s_until_an_answer_comes() -> None:
    world = World()
    executor, attempts = await holding(world, 4)

    closed_for = []
    for told in (
        throttled(attempts[0], Throttled("slow down")),
        throttled(attempts[1], Throttled("slow down")),
        succeeded(attempts[2]),
        throttled(attempts[3], Throttled("slow down")),
    ):
        await tell(world, executor, told)
        closed_until = (await world.lane()).closed_until
        assert closed_until is not None
        closed_for.append(closed_until - world.clock.now())
        await world.clock.sleep(closed_for[-1].total_seconds())

    assert closed_for == [seconds(30), seconds(60), seconds(0), seconds(30)]
    assert (await world.lane()).throttles == 1


@in_virtual_time
async def test_a_condition_that_only_a_person_ends_stops_the_lane() -> None:
    world = World()
    executor, [attempt] = await holding(world, 1)
    await executor.offer(1)
    async with looping(world.completer.run, world.dispatcher.run):
        await executor.tell(throttled(attempt, Throttled("no money", lane_stop="Billing is depleted.")))
        await world.clock.sleep(3600)

    assert (await world.lane()).stopped_reason == "Billing is depleted."
    job = world.read.with_wait(await world.see(attempt.job_id))
    assert job.wait is not None
    assert job.wait.reason is WaitReason.LANE_STOPPED
    assert "Billing is depleted." in job.wait.message


@in_virtual_time
async def test_five_failures_in_a_row_open_the_breaker_and_waiting_jobs_say_so() -> None:
    world = World()
    executor, attempts = await holding(world, 5)
    [waiting] = await submit(world.store, world.clock)

    await tell(world, executor, *map(failed, attempts[:4]))
    assert (await world.lane()).breaker.is_closed
    await tell(world, executor, failed(attempts[4]))

    assert (await world.lane()).breaker.open_until == EPOCH + seconds(300)
    job = world.read.with_wait(await world.see(waiting))
    assert job.wait is not None
    assert (job.wait.reason, job.wait.until_time) == (WaitReason.CIRCUIT_BREAKER, EPOCH + seconds(300))
    assert world.signals.announced > 0


@pytest.mark.parametrize("between", ["success", "answer about the job", "429", "release"])
@in_virtual_time
async def test_only_an_answer_of_the_provider_ends_a_streak(between: str) -> None:
    world = World()
    executor, attempts = await holding(world, 6)
    told = {
        "success": succeeded(attempts[4]),
        "answer about the job": failed(attempts[4], "BAD_REQUEST", retryable=False),
        "429": throttled(attempts[4], Throttled("slow down", retry_after=seconds(0))),
        "release": released(attempts[4]),
    }[between]

    await tell(world, executor, *map(failed, attempts[:4]), told, failed(attempts[5]))

    assert (await world.lane()).breaker.is_closed == (between in ("success", "answer about the job"))


async def half_open(world: World) -> tuple[Executor, AttemptId]:
    """Return an executor that holds the probe of a breaker, while another job waits."""
    await world.set_lane(breaker=Breaker(failures=5, open_until=EPOCH + seconds(60)))
    executor = await dial(world, slots=3)
    await submit(world.store, world.clock, 2, 2)
    async with looping(world.dispatcher.run):
        probes = await executor.receive()
        assert world.clock.monotonic() >= 60
        await world.clock.sleep(10)
        assert await executor.has_heard(Assignment) == []
    return executor, probes[0]


@in_virtual_time
async def test_after_the_pause_a_single_probe_goes_out_and_its_success_lets_the_others_follow() -> None:
    world = World()
    executor, probe = await half_open(world)
    async with looping(world.completer.run, world.dispatcher.run):
        begun = world.clock.monotonic()
        await executor.tell(succeeded(probe))
        await executor.hear(Assignment)

    assert (await world.lane()).breaker == Breaker()
    assert world.clock.monotonic() < begun + 0.1


@in_virtual_time
async def test_a_probe_that_fails_opens_the_breaker_again_and_is_not_charged() -> None:
    world = World()
    executor, probe = await half_open(world)

    await tell(world, executor, failed(probe))

    assert (await world.lane()).breaker.open_until == world.clock.now() + seconds(300)
    job = await world.see(probe.job_id)
    assert (job.state, job.retry_count) == (JobState.QUEUED, 0)


@in_virtual_time
async def test_a_probe_without_a_verdict_makes_room_for_the_next_one() -> None:
    world = World()
    executor, probe = await half_open(world)
    async with looping(world.completer.run, world.dispatcher.run):
        await executor.tell(released(probe))
        [assignment] = await executor.hear(Assignment)

    assert assignment.job.attempt_id == AttemptId(probe.job_id, 2)
    assert (await world.lane()).breaker.probe == AttemptId(probe.job_id, 2)


@in_virtual_time
async def test_what_was_called_before_the_breaker_opened_does_not_close_it() -> None:
    world = World()
    executor, attempts = await holding(world, 6)

    await tell(world, executor, *map(failed, attempts[:5]), succeeded(attempts[5]))

    assert not (await world.lane()).breaker.is_closed


@in_virtual_time
async def test_who_wants_to_fail_fast_is_told_when_to_come_again() -> None:
    world = World()
    await world.set_lane(breaker=Breaker(failures=5, open_until=EPOCH + seconds(60)))

    with pytest.raises(BreakerOpen) as refusal:
        await world.submit.jobs(CLIENT, [submission(fail_fast=True)])

    assert refusal.value.retry_after == seconds(60)


@in_virtual_time
async def test_a_lane_hears_nothing_of_ordinary_successes() -> None:
    world = World()
    executor, [attempt] = await holding(world, 1)

    await tell(world, executor, succeeded(attempt))

    assert world.store.calls["change_lane"] == 0
    assert world.store.calls["find_running"] == 0


@in_virtual_time
async def test_each_lane_hears_of_its_own_attempts() -> None:
    world = World()
    executor = await dial(world, slots=2)
    await insert(world.store, CLIENT, [new_job(world.clock), new_job(world.clock, model=OTHER_MODEL)])
    async with looping(world.dispatcher.run):
        attempts = await executor.receive(2)
    async with looping(world.completer.run):
        await executor.tell(failed(attempts[0]), throttled(attempts[1], Throttled("slow down", retry_after=seconds(9))))
        await executor.hear(OutcomeAck, 2)

    one, other = await world.lane(), await world.lane(OTHER_LANE)
    assert (one.breaker.failures, one.closed_until) == (1, None)
    assert (other.breaker.failures, other.closed_until) == (0, EPOCH + seconds(9))


@in_virtual_time
async def test_an_outcome_of_an_attempt_that_does_not_run_any_more_tells_its_lane_nothing() -> None:
    world = World()
    executor, [attempt] = await holding(world, 1)
    await world.store.cancel(CLIENT, [attempt.job_id])

    await tell(world, executor, throttled(attempt, Throttled("slow down", retry_after=seconds(60))))

    assert (await world.lane()).closed_until is None
