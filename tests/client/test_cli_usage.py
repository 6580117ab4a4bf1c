"""`visionjobs usage` and `visionjobs alerts`."""

import asyncio
from datetime import UTC, date, datetime

import pytest
import typer
from command_line import Cli, at_a_terminal, everything, lines, without_style
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

from visionjobs.cli import arguments
from visionjobs.v1 import admin_service_pb2, job_pb2, vision_job_service_pb2

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)
ROWS = [
    vision_job_service_pb2.UsageRow(
        group={"label:team": "", "user": "u-17"},
        jobs=1_200,
        usage=job_pb2.Usage(input_tokens=2_000_000, output_tokens=30_000, thinking_tokens=4_000),
        cost_usd=1.5,
        wasted_usd=0.25,
        unanswered_calls=3,
    ),
    vision_job_service_pb2.UsageRow(group={"label:team": "red\x1b[0m", "user": "u-18"}, jobs=1),
]


async def test_usage_is_a_line_for_each_group_in_the_order_that_was_asked_for(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    scheduler.usage = ROWS

    result = await cli("usage", "--by", "user", "--by", "label:team")

    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        "u-17\t-\t1,200 jobs\t2,000,000 tokens in\t34,000 tokens out\t$1.5000\t$0.2500 wasted\t3 unanswered\n"
        "u-18\tred\ufffd[0m\t1 job\t0 tokens in\t0 tokens out\t$0.0000\t$0.0000 wasted\n"
    )


async def test_a_person_at_a_terminal_sees_a_table_of_usage(scheduler: FakeScheduler) -> None:
    scheduler.usage = ROWS[:1]

    async with at_a_terminal(scheduler, "usage", "--by", "user") as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    assert [line.split() for line in shown.splitlines()] == [
        ["user", "Jobs", "Tokens", "in", "Tokens", "out", "Cost", "Wasted", "Unanswered"],
        ["u-17", "1,200", "2,000,000", "34,000", "$1.5000", "$0.2500", "3"],
    ]


async def test_json_of_usage_has_the_names_of_the_contract(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.usage = ROWS[:1]

    [document] = lines(await cli("usage", "--by", "user", "--by", "label:team", "--json"))

    assert list(document) == [field.name for field in vision_job_service_pb2.UsageRow.DESCRIPTOR.fields]
    assert document["group"] == {"user": "u-17", "label:team": ""}
    assert (document["wasted_usd"], document["unanswered_calls"]) == (0.25, 3)


async def test_days_and_groups_reach_the_scheduler(cli: Cli, scheduler: FakeScheduler) -> None:
    await cli("usage", "--from", "2026-11-01", "--to", "2026-12-01", "--by", "day")

    [request] = scheduler.requests
    assert getattr(request, "from").ToDatetime() == datetime(2026, 11, 1)  # noqa: DTZ001 - as protobuf returns it
    assert request.to.ToDatetime() == datetime(2026, 12, 1)  # noqa: DTZ001 - as protobuf returns it
    assert list(request.group_by) == ["day"]


@pytest.mark.parametrize("options", [(), ("--to", "2026-12-01"), ("--to", "0001-01-02")])
async def test_the_last_thirty_days_are_the_default(
    cli: Cli, scheduler: FakeScheduler, options: tuple[str, ...]
) -> None:
    result = await cli("usage", *options)

    assert result.exit_code == 0, result.stderr
    [request] = scheduler.requests
    days = (request.to.ToDatetime() - getattr(request, "from").ToDatetime()).days
    assert days == (1 if "0001-01-02" in options else 30)


@pytest.mark.parametrize(
    ("text", "day"), [("2026-11-24", date(2026, 11, 24)), ("-7d", date(2030, 1, 24)), ("-13h", date(2030, 1, 30))]
)
def test_a_day_is_iso_8601_or_a_span_ago(text: str, day: date) -> None:
    assert arguments.day_from(text, NOON) == day


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "-", "-99999999d", "+1d"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a day such as"):
        arguments.day_from(text, NOON)


async def test_alerts_are_a_line_each_and_those_that_are_over_are_shown_if_asked_for(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    start, end = timestamp_pb2.Timestamp(seconds=1_800_000_000), timestamp_pb2.Timestamp(seconds=1_800_003_600)
    scheduler.alerts = [
        admin_service_pb2.Alert(name="NEW", severity="CRITICAL", active=True, message="Look\x1b.", start_time=start),
        admin_service_pb2.Alert(name="OLD", severity="WARNING", message="Looked.", start_time=start, end_time=end),
    ]

    active, both, documents = await cli("alerts"), await cli("alerts", "--all"), await cli("alerts", "--all", "--json")

    [line] = active.stdout.splitlines()
    assert line.split("\t")[1:] == ["NEW", "critical", "Look\ufffd."]
    assert both.stdout.splitlines()[0] == line
    assert "\tOLD\twarning\tLooked. (over since 2027-01-15 " in both.stdout.splitlines()[1]
    assert [(each["name"], each["active"], each["end_time"]) for each in lines(documents)] == [
        ("NEW", True, None),
        ("OLD", False, "2027-01-15T09:00:00Z"),
    ]


async def test_a_person_at_a_terminal_sees_a_table_of_alerts_or_that_there_are_none(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "alerts") as (terminal, _):
        none = without_style(await asyncio.to_thread(everything, terminal))
    scheduler.alerts = [
        admin_service_pb2.Alert(name="MODEL_REROUTED", severity="WARNING", active=True, message="Look.")
    ]
    async with at_a_terminal(scheduler, "alerts") as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    assert none.split() == ["No", "alerts."]
    assert [line.split() for line in shown.splitlines()] == [["Since", "Alert", "What"], ["MODEL_REROUTED", "Look."]]
