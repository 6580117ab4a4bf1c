"""The provider's limits are never fought: what operators and the provider allow holds for the whole fleet."""

import asyncio
import datetime
import itertools
import zoneinfo
from collections.abc import Callable

import pytest
from fleet_calls import Fleet, connected_to, finished, lane_where, succeeded, time_of, waits

from visionjobs import JobSpec, NotFound, WaitReason

MODEL = "gemini-3.7-flash"
LANE = f"gemini/{MODEL}"
# No call of another test is in its window.
WHOLE_MINUTE_MODEL = "gemini-3.8-flash"

# A permit is valid for 0.5 s, and 0.3 s is for the clocks.
SLACK_SECONDS = 0.8


async def test_calls_keep_the_pace_that_an_operator_set_on_either_scheduler(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    limit, count = 600, 30
    await first.update_lane(LANE, requests_per_minute=limit)
    try:
        await lane_where(second, LANE, lambda lane: lane.requests_per_minute == limit)
        async with asyncio.TaskGroup() as tasks:
            submissions = [
                tasks.create_task(fleet.clients[number % 2].submit(request_for(f"Paced? {number}", model=MODEL)))
                for number in range(count)
            ]

        done = await finished(first, [task.result().job_id for task in submissions])
    finally:
        await second.update_lane(LANE, requests_per_minute=0)

    assert succeeded(done)
    assert all(job.retry_count == 0 for job in done)
    calls = [time_of(call["time"]) for job in done for call in await fleet.emulator.calls(prompt=job.spec.prompt)]
    assert len(calls) == count
    interval = (60 + SLACK_SECONDS) / limit
    for (earlier, start), (later, end) in itertools.combinations(enumerate(sorted(calls)), 2):
        assert (end - start).total_seconds() >= (later - earlier) * interval - SLACK_SECONDS


async def test_no_more_calls_are_in_flight_than_an_operator_allows(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    await first.update_lane(LANE, max_in_flight=2)
    try:
        await fleet.emulator.script("hold", model=MODEL)
        prompts = [f"In flight? {number}" for number in range(6)]
        jobs = [
            await fleet.clients[number % 2].submit(request_for(prompts[number], model=MODEL)) for number in range(6)
        ]
        lane = await lane_where(second, LANE, lambda lane: lane.running_jobs == 2)
        assert lane.queued_jobs == 4
        await fleet.emulator.release()

        done = await finished(second, [job.job_id for job in jobs])
    finally:
        await first.update_lane(LANE, max_in_flight=0)

    assert succeeded(done)
    numbers = {call["number"] for prompt in prompts for call in await fleet.emulator.calls(prompt=prompt)}
    bills = [bill for bill in await fleet.emulator.bills(model=MODEL) if bill["call_number"] in numbers]
    assert len(bills) == len(numbers) == 6
    for bill in bills:
        beside = [other for other in bills if other["start_time"] <= bill["start_time"] < other["time"]]
        assert len(beside) <= 2


async def test_what_is_not_named_stays_and_an_unknown_lane_is_told(fleet: Fleet) -> None:
    first, second = fleet.clients
    changed = await first.update_lane(LANE, requests_per_day=10_000, input_tokens_per_minute=10**9)
    assert (changed.requests_per_day, changed.input_tokens_per_minute) == (10_000, 10**9)

    changed = await second.update_lane(LANE, input_tokens_per_minute=0)

    assert (changed.requests_per_day, changed.input_tokens_per_minute) == (10_000, 0)
    await first.update_lane(LANE, requests_per_day=0)
    with pytest.raises(NotFound):
        await first.update_lane("gemini/none", requests_per_day=1)


async def test_a_429_closes_the_lane_for_the_providers_time_and_spends_no_retry(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("Too many?", model=MODEL)
    await fleet.emulator.script("429", model=MODEL, count=1, retry_seconds=4)
    throttled = await first.submit(spec)
    refused_at = time_of((await fleet.emulator.calls(prompt=spec.prompt, count=1))[0]["time"])
    again_at = refused_at + datetime.timedelta(seconds=4)

    waiting = await waits(second, throttled.job_id, WaitReason.QUOTA)
    other = await second.submit(request_for("Not now?", model=MODEL))

    assert waiting.wait is not None
    assert waiting.wait.until_time is not None
    assert again_at <= waiting.wait.until_time <= again_at + datetime.timedelta(seconds=2)
    assert waiting.retry_count == 0
    assert (await waits(first, other.job_id, WaitReason.QUOTA)).wait is not None
    done = await finished(first, [throttled.job_id, other.job_id])
    assert succeeded(done)
    assert [job.retry_count for job in done] == [0, 0]
    assert [attempt.outcome for attempt in done[0].attempts] == ["THROTTLED", "SUCCEEDED"]
    for job, calls in zip(done, (2, 1), strict=True):
        times = [time_of(call["time"]) for call in await fleet.emulator.calls(prompt=job.spec.prompt)]
        assert len(times) == calls
        assert times[-1] >= again_at


async def test_a_daily_quota_closes_the_lane_until_midnight_in_california(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    client = fleet.clients[0]
    # No other test takes this lane.
    spec = request_for("Until tomorrow?", model="gemini-3.5-flash")
    await fleet.emulator.script("429-day", model=spec.model, count=1, retry_seconds=1)
    job = await client.submit(spec)

    waiting = await waits(client, job.job_id, WaitReason.QUOTA)

    assert waiting.wait is not None
    assert waiting.wait.until_time is not None
    pacific = waiting.wait.until_time.astimezone(zoneinfo.ZoneInfo("America/Los_Angeles"))
    # A scheduler counts the provider's time from when it hears of it.
    assert (pacific + datetime.timedelta(seconds=1)).hour == 0
    assert pacific.minute in (0, 59)
    await client.cancel(job.job_id)
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 1


async def test_depleted_billing_stops_the_lane_until_an_operator_resumes_it(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("Paid?", model=MODEL)
    await fleet.emulator.script("429-billing", model=MODEL, count=1)
    job = await first.submit(spec)

    stopped = await waits(second, job.job_id, WaitReason.LANE_STOPPED)
    assert stopped.wait is not None
    assert "credits are depleted" in stopped.wait.message
    await second.resume_lane(LANE)

    [done] = await finished(first, [job.job_id])
    assert succeeded([done])
    assert done.retry_count == 0
    assert len(await fleet.emulator.calls(prompt=spec.prompt)) == 2


async def test_a_paused_lane_calls_nobody_until_it_is_resumed_on_any_scheduler(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    spec = request_for("Paused?", model=MODEL)
    [paused] = await first.pause_lane(LANE)
    assert paused.paused
    await lane_where(second, LANE, lambda lane: lane.paused)
    job = await second.submit(spec)

    assert (await waits(first, job.job_id, WaitReason.PAUSED)).wait is not None
    assert (await waits(second, job.job_id, WaitReason.PAUSED)).wait is not None
    assert await fleet.emulator.calls(prompt=spec.prompt) == []
    [resumed] = await second.resume_lane(LANE)

    assert not resumed.paused
    assert succeeded(await finished(first, [job.job_id]))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_providers_window_is_never_overrun_and_is_used_while_work_waits(
    fleet: Fleet, request_for: Callable[..., JobSpec]
) -> None:
    first, second = fleet.clients
    lane_name, limit, count = f"gemini/{WHOLE_MINUTE_MODEL}", 120, 170
    # The provider refuses what is over its window, which slides.
    await fleet.emulator.limit(requests_per_minute=limit)
    more = [await fleet.stack.start_executor() for _ in range(2)]
    await first.update_lane(lane_name, requests_per_minute=limit)
    try:
        for executor in more:
            await connected_to(executor)
        await lane_where(second, lane_name, lambda lane: lane.requests_per_minute == limit)
        specs = [request_for(f"Whole minute? {number}", model=WHOLE_MINUTE_MODEL) for number in range(count)]
        jobs = [*await first.submit_many(specs[::2]), *await second.submit_many(specs[1::2])]

        done = await finished(first, [job.job_id for job in jobs], within_seconds=240)
    finally:
        await second.update_lane(lane_name, requests_per_minute=0)
        for executor in more:
            executor.kill()
            await executor.wait()

    assert succeeded(done)
    calls = [call for job in done for call in await fleet.emulator.calls(prompt=job.spec.prompt)]
    assert len(calls) == count
    assert not any(call["over_quota"] for call in calls)
    times = sorted(time_of(call["time"]) for call in calls)
    minute = datetime.timedelta(seconds=60)
    windows = [sum(start <= time < start + minute for time in times) for start in times if start + minute <= times[-1]]
    assert max(windows) <= limit
    assert min(windows) >= 0.95 * limit
