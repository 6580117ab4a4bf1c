"""Identical requests are answered by one paid call."""

from collections.abc import Callable

from fleet_calls import Fleet, called, finished, succeeded, until, waits

from visionjobs import CachePolicy, JobSpec, JobState, WaitReason

MODEL = "gemini-3.5-flash-lite"


async def test_who_comes_while_the_call_runs_follows_it_and_pays_nothing(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("The same at once?", model=MODEL)
    await fleet.emulator.script("hold", model=MODEL)
    leader = await first.submit(spec)
    await called(fleet, leader)

    follower = await second.submit(spec)

    assert follower.job_id != leader.job_id
    assert follower.wait is not None
    assert follower.wait.reason is WaitReason.FOLLOWING
    await waits(first, follower.job_id, WaitReason.FOLLOWING)
    await fleet.emulator.release()
    led, followed = await finished(second, [leader.job_id, follower.job_id])
    assert succeeded([led, followed])
    assert led.result is not None
    assert followed.result is not None
    assert (led.result.cached, followed.result.cached) == (False, True)
    assert led.result.cost_usd > 0
    assert followed.result.cost_usd == 0
    assert followed.result.output == led.result.output
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 1


async def test_a_follower_that_is_cancelled_leaves_its_leader_alone(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("Without me?", model=MODEL)
    await fleet.emulator.script("hold", model=MODEL)
    leader = await first.submit(spec)
    await called(fleet, leader)
    follower = await second.submit(spec)

    assert (await second.cancel(follower.job_id)).state is JobState.CANCELLED
    await fleet.emulator.release()

    led, followed = await finished(first, [leader.job_id, follower.job_id])
    assert (led.state, followed.state) == (JobState.SUCCEEDED, JobState.CANCELLED)
    assert (led.attempt, followed.result) == (1, None)


async def test_the_oldest_follower_goes_on_where_its_leader_was_cancelled(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("Who goes on?", model=MODEL)
    await fleet.emulator.script("hold", model=MODEL)
    leader = await first.submit(spec)
    await called(fleet, leader)
    followers = [await second.submit(spec) for _ in range(2)]

    await first.cancel(leader.job_id)
    await called(fleet, followers[0], times=2)
    await fleet.emulator.release()

    promoted, followed = await finished(first, [follower.job_id for follower in followers])
    assert promoted.result is not None
    assert followed.result is not None
    assert (promoted.result.cached, followed.result.cached) == (False, True)
    # The cancelled one's and the promoted one's.
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 2


async def test_a_recent_result_answers_at_once_unless_it_is_not_wanted(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("The same again?", model=MODEL)
    fresh = await first.submit_and_wait(spec)

    again = await second.submit(spec)

    assert again.state is JobState.SUCCEEDED
    assert again.result is not None
    assert (again.result.cached, again.result.cost_usd, again.result.output) == (True, 0, fresh.output)
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 1
    for number, policy in enumerate((CachePolicy.REFRESH, CachePolicy.OFF), start=2):
        unlike = request_for(spec.prompt, model=MODEL, cache=policy)
        result = await second.submit_and_wait(unlike)
        assert (result.cached, result.cost_usd > 0) == (False, True)
        assert len(await fleet.emulator.calls(prompt=spec.prompt)) == number


async def test_what_differs_is_asked_anew(fleet: Fleet, request_for: Callable[..., JobSpec]) -> None:
    client = fleet.clients[0]
    await client.submit_and_wait(request_for("Alike?", model=MODEL))

    other = await client.submit(request_for("Alike?", model=MODEL, system_instruction="Be brief."))

    done = await until(client, other.job_id, lambda job: job.state.is_final)
    assert done.result is not None
    assert not done.result.cached
