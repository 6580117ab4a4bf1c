"""`visionjobs lanes` and `visionjobs accepting`, and what people read about a lane."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from command_line import Cli, at_a_terminal, everything, lines, without_style
from fake_answers import lane_message
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

from visionjobs.cli import lane_wording
from visionjobs.lanes import Lane
from visionjobs.mapping import lanes as mapping
from visionjobs.v1 import admin_service_pb2

NOON = datetime(2030, 1, 31, 12).astimezone()
OPEN, PROBING = admin_service_pb2.BREAKER_STATE_OPEN, admin_service_pb2.BREAKER_STATE_PROBING


def lane(**fields: Any) -> Lane:
    return mapping.lane(lane_message("gemini/x", **fields))


def after_noon(**span: float) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(NOON.astimezone(UTC) + timedelta(**span))
    return message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "open"),
        ({"breaker_failures": 1}, "open, 1 failure"),
        ({"breaker_failures": 4}, "open, 4 failures in a row"),
        ({"paused": True}, "paused"),
        ({"stopped_reason": "billing is depleted"}, "stopped: billing is depleted"),
        (
            {"breaker_state": OPEN, "breaker_failures": 5, "breaker_open_until_time": after_noon(seconds=190)},
            "breaker open until 12:03:10",
        ),
        ({"breaker_state": OPEN, "breaker_open_until_time": after_noon(seconds=-1)}, "breaker open, a probe is due"),
        ({"breaker_state": PROBING, "breaker_failures": 5}, "breaker open, a probe is under way"),
        ({"closed_until_time": after_noon(minutes=1)}, "closed by the provider until 12:01:00"),
        ({"closed_until_time": after_noon(days=1)}, "closed by the provider until 2030-02-01 12:00:00"),
        ({"closed_until_time": after_noon(seconds=-1)}, "open"),
        (
            {"paused": True, "breaker_state": PROBING, "closed_until_time": after_noon(minutes=1)},
            "paused; breaker open, a probe is under way; closed by the provider until 12:01:00",
        ),
    ],
)
def test_the_state_of_a_lane_is_told_in_plain_words(fields: dict[str, Any], words: str) -> None:
    assert lane_wording.state(lane(**fields), NOON) == words
    assert lane_wording.is_open(lane(**fields), NOON) is words.startswith("open")


def test_limits_are_told_with_their_units_and_none_by_that_word() -> None:
    limited = lane(
        requests_per_minute=60,
        input_tokens_per_minute=1_000_000,
        requests_per_day=10_000,
        max_in_flight=8,
        dollars_per_10_minutes=2.5,
    )

    assert lane_wording.limits(lane()) == "none"
    assert (
        lane_wording.limits(limited) == "60 calls/min, 1,000,000 tokens/min, 10,000 calls/day, 8 at once, $2.50/10 min"
    )


async def test_lanes_are_a_line_each(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.lanes = {
        "gemini/x": lane_message("gemini/x", requests_per_minute=60, queued_jobs=3, running_jobs=2),
        "gemini/y": lane_message("gemini/y", paused=True, stopped_reason="\x1b[31mretired"),
    }

    result = await cli("lanes")

    assert result.exit_code == 0
    assert result.stdout == (
        "gemini/x\topen\t60 calls/min\t3 waiting\t2 running\n"
        "gemini/y\tstopped: \ufffd[31mretired; paused\tnone\t0 waiting\t0 running\n"
    )


async def test_a_person_at_a_terminal_sees_a_table_of_lanes(scheduler: FakeScheduler) -> None:
    scheduler.lanes["gemini/gemini-3.8-flash"] = lane_message(
        "gemini/gemini-3.8-flash", requests_per_minute=60, paused=True, queued_jobs=12_340
    )

    async with at_a_terminal(scheduler, "lanes", columns=80) as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    assert [line.split() for line in shown.splitlines()] == [
        ["Lane", "State", "Limits", "Waiting", "Running"],
        ["gemini/gemini-3.8-flash", "paused", "60", "calls/min", "12,340", "0"],
    ]


async def test_json_of_a_lane_has_the_names_of_the_contract(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.lanes["gemini/x"] = lane_message(
        "gemini/x", closed_until_time=timestamp_pb2.Timestamp(seconds=1_800_000_000), max_in_flight=8
    )

    [document] = lines(await cli("lanes", "--json"))

    assert list(document) == [field.name for field in admin_service_pb2.Lane.DESCRIPTOR.fields]
    assert document["closed_until_time"] == "2027-01-15T08:00:00Z"
    assert document["breaker_open_until_time"] is None
    assert (document["breaker_state"], document["max_in_flight"]) == ("CLOSED", 8)


async def test_every_limit_can_be_set(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.lanes["gemini/x"] = lane_message("gemini/x", requests_per_minute=60)

    result = await cli(
        *("lanes", "set", "gemini/x", "--requests-per-minute", "0", "--input-tokens-per-minute", "1000"),
        *("--requests-per-day", "100", "--max-in-flight", "4", "--dollars-per-10-minutes", "0.5"),
    )

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("gemini/x\topen\t1,000 tokens/min, 100 calls/day, 4 at once, $0.50/10 min\t")
    assert scheduler.requests == [
        admin_service_pb2.UpdateLaneRequest(
            lane="gemini/x",
            requests_per_minute=0,
            input_tokens_per_minute=1000,
            requests_per_day=100,
            max_in_flight=4,
            dollars_per_10_minutes=0.5,
        )
    ]


async def test_a_lane_is_paused_resumed_and_reset(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.lanes = {
        "gemini/x": lane_message("gemini/x", breaker_state=PROBING, breaker_failures=5),
        "gemini/y": lane_message("gemini/y"),
    }

    paused = await cli("lanes", "pause", "*", "--json")
    resumed = await cli("lanes", "resume", "gemini/y", "--json")
    reset = await cli("lanes", "reset-breaker", "gemini/x", "--json")

    assert [(each["lane"], each["paused"]) for each in lines(paused)] == [("gemini/x", True), ("gemini/y", True)]
    assert [(each["lane"], each["paused"]) for each in lines(resumed)] == [("gemini/y", False)]
    assert [(each["lane"], each["breaker_state"]) for each in lines(reset)] == [("gemini/x", "CLOSED")]


async def test_a_missing_lane_exits_with_3(cli: Cli) -> None:
    result = await cli("lanes", "pause", "gemini/x")

    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "There is no lane gemini/x.\n")


async def test_submissions_are_switched_off_and_on(cli: Cli, scheduler: FakeScheduler) -> None:
    off, on = await cli("accepting", "off"), await cli("accepting", "on", "--json")

    assert off.stdout == "Submissions are refused.\n"
    assert lines(on) == [{"accepting": True}]
    assert [request.accepting for request in scheduler.requests] == [False, True]
