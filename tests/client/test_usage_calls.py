"""The client tells what was used, and what wants a person."""

from datetime import UTC, date, datetime

import pytest
from fake_answers import failure
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

import visionjobs
from visionjobs import Alert, AsyncClient, Usage, UsageRow
from visionjobs.v1 import admin_service_pb2, job_pb2, vision_job_service_pb2


async def test_a_row_of_usage_is_told_in_plain_values(scheduler: FakeScheduler, client: AsyncClient) -> None:
    tokens = job_pb2.Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1)
    scheduler.usage = [
        vision_job_service_pb2.UsageRow(
            group={"user": "u-17", "label:team": ""},
            jobs=7,
            usage=tokens,
            cost_usd=0.5,
            wasted_usd=0.25,
            unanswered_calls=2,
        )
    ]

    rows = await client.get_usage(date(2026, 11, 1), date(2026, 12, 1), group_by=["user", "label:team"])

    expected = UsageRow(
        group={"user": "u-17", "label:team": ""},
        jobs=7,
        usage=Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1),
        cost_usd=0.5,
        wasted_usd=0.25,
        unanswered_calls=2,
    )
    assert rows == (expected,)


async def test_days_are_asked_for_from_their_beginning_in_utc(scheduler: FakeScheduler, client: AsyncClient) -> None:
    await client.get_usage(date(2026, 11, 1), date(2026, 12, 1), group_by=["day"])

    [request] = scheduler.requests
    assert getattr(request, "from").ToDatetime(UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert request.to.ToDatetime(UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    assert list(request.group_by) == ["day"]


async def test_usage_that_is_too_large_is_resource_exhausted(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.failures.append(failure("RESOURCE_EXHAUSTED", "Too large.", reason="ANSWER_TOO_LARGE"))

    with pytest.raises(visionjobs.ResourceExhausted) as refused:
        await client.get_usage(date(2026, 11, 1), date(2026, 12, 1))

    assert refused.value.reason == "ANSWER_TOO_LARGE"


async def test_alerts_are_told_in_plain_values_those_that_are_over_if_asked_for(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    start, end = timestamp_pb2.Timestamp(seconds=1_800_000_000), timestamp_pb2.Timestamp(seconds=1_800_003_600)
    scheduler.alerts = [
        admin_service_pb2.Alert(name="NEW", severity="CRITICAL", active=True, message="Look.", start_time=start),
        admin_service_pb2.Alert(name="OLD", severity="WARNING", message="Looked.", start_time=start, end_time=end),
    ]

    [active] = await client.list_alerts()
    both = await client.list_alerts(include_ended=True)

    began = datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert active == Alert(
        name="NEW", severity="CRITICAL", active=True, message="Look.", start_time=began, end_time=None
    )
    assert [(alert.name, alert.active, alert.end_time) for alert in both] == [
        ("NEW", True, None),
        ("OLD", False, datetime(2027, 1, 15, 9, tzinfo=UTC)),
    ]
