"""The client looks after lanes and submissions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_answers import failure, lane_message
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

import visionjobs
from visionjobs import AsyncClient, BreakerState, Lane
from visionjobs.v1 import admin_service_pb2


async def test_a_lane_is_told_in_plain_values(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.lanes["gemini/x"] = lane_message(
        "gemini/x",
        paused=True,
        stopped_reason="billing is depleted",
        requests_per_minute=1,
        input_tokens_per_minute=2,
        requests_per_day=3,
        max_in_flight=4,
        dollars_per_10_minutes=0.5,
        closed_until_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        breaker_state=admin_service_pb2.BREAKER_STATE_OPEN,
        breaker_failures=5,
        breaker_open_until_time=timestamp_pb2.Timestamp(seconds=1_800_003_600),
        queued_jobs=6,
        running_jobs=7,
    )

    [lane] = await client.list_lanes()

    assert lane == Lane(
        lane="gemini/x",
        paused=True,
        stopped_reason="billing is depleted",
        requests_per_minute=1,
        input_tokens_per_minute=2,
        requests_per_day=3,
        max_in_flight=4,
        dollars_per_10_minutes=0.5,
        closed_until_time=datetime(2027, 1, 15, 8, tzinfo=UTC),
        breaker_state=BreakerState.OPEN,
        breaker_failures=5,
        breaker_open_until_time=datetime(2027, 1, 15, 9, tzinfo=UTC),
        queued_jobs=6,
        running_jobs=7,
    )


@pytest.mark.parametrize("number", [0, 99])
async def test_a_breaker_state_that_this_client_does_not_know_is_unknown(
    scheduler: FakeScheduler, client: AsyncClient, number: Any
) -> None:
    scheduler.lanes["gemini/x"] = lane_message("gemini/x", breaker_state=number)

    [lane] = await client.list_lanes()

    assert lane.breaker_state is BreakerState.UNKNOWN
    assert lane.breaker_open_until_time is None


async def test_a_limit_that_is_not_named_stays_and_zero_is_sent(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.lanes["gemini/x"] = lane_message("gemini/x", requests_per_minute=60, max_in_flight=8)

    lane = await client.update_lane("gemini/x", requests_per_minute=0, dollars_per_10_minutes=2.5)

    assert (lane.requests_per_minute, lane.max_in_flight, lane.dollars_per_10_minutes) == (0, 8, 2.5)
    assert scheduler.requests == [
        admin_service_pb2.UpdateLaneRequest(lane="gemini/x", requests_per_minute=0, dollars_per_10_minutes=2.5)
    ]


async def test_every_limit_reaches_the_scheduler(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.lanes["gemini/x"] = lane_message("gemini/x")

    await client.update_lane(
        "gemini/x",
        requests_per_minute=1,
        input_tokens_per_minute=2,
        requests_per_day=3,
        max_in_flight=4,
        dollars_per_10_minutes=5,
    )

    assert scheduler.requests == [
        admin_service_pb2.UpdateLaneRequest(
            lane="gemini/x",
            requests_per_minute=1,
            input_tokens_per_minute=2,
            requests_per_day=3,
            max_in_flight=4,
            dollars_per_10_minutes=5,
        )
    ]


async def test_one_lane_or_all_are_paused_and_resumed(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.lanes = {"gemini/x": lane_message("gemini/x"), "gemini/y": lane_message("gemini/y")}

    one = await client.pause_lane("gemini/x")
    both = await client.pause_lane("*")
    resumed = await client.resume_lane("*")

    assert [(lane.lane, lane.paused) for lane in one] == [("gemini/x", True)]
    assert [lane.paused for lane in both] == [True, True]
    assert [lane.paused for lane in resumed] == [False, False]


async def test_a_breaker_is_closed(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.lanes["gemini/x"] = lane_message("gemini/x", breaker_state=admin_service_pb2.BREAKER_STATE_OPEN)

    lane = await client.reset_breaker("gemini/x")

    assert lane.breaker_state is BreakerState.CLOSED


async def test_submissions_are_switched_off_and_on(scheduler: FakeScheduler, client: AsyncClient) -> None:
    assert await client.set_accepting(False) is False
    assert await client.set_accepting(True) is True
    assert [request.accepting for request in scheduler.requests] == [False, True]


async def test_a_missing_lane_is_not_found(client: AsyncClient) -> None:
    with pytest.raises(visionjobs.NotFound, match="no lane gemini/x"):
        await client.pause_lane("gemini/x")
    with pytest.raises(visionjobs.NotFound, match="no lane gemini/x"):
        await client.update_lane("gemini/x", max_in_flight=1)


async def test_calls_about_lanes_are_repeated_and_carry_the_key(scheduler: FakeScheduler) -> None:
    scheduler.failures.append(
        failure("UNAVAILABLE", "Away.", reason="STORE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))
    )

    async with AsyncClient(scheduler.address, "secret") as client:
        await client.list_lanes()

    assert [metadata["authorization"] for metadata in scheduler.metadata] == ["Bearer secret", "Bearer secret"]
