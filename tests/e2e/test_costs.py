"""What was paid is on the attempts, on the jobs, and in the usage; and who answers in another's place is told."""

import asyncio
import datetime
from collections.abc import Callable

import pytest
from fleet_calls import PATIENCE_SECONDS, Fleet, finished

from visionjobs import JobSpec, JobState

RequestFor = Callable[..., JobSpec]


def today() -> tuple[datetime.date, datetime.date]:
    now = datetime.datetime.now(datetime.UTC).date()
    return now - datetime.timedelta(days=1), now + datetime.timedelta(days=1)


async def test_usage_is_the_sum_of_all_attempts_wasted_ones_apart(fleet: Fleet, request_for: RequestFor) -> None:
    client = fleet.clients[0]
    model = "gemini-3.5-flash"
    labels = {"team": "costs"}
    await fleet.emulator.script("wrong-schema", model=model, count=1)
    first = await client.submit(request_for("What does it cost?", model=model, labels=labels))
    [spoilt] = await finished(client, [first.job_id])
    second = await client.submit(request_for("What does it cost? Again", model=model, labels=labels))
    [clean] = await finished(client, [second.job_id])
    cached = await client.submit(request_for("What does it cost? Again", model=model, labels=labels))
    [free] = await finished(client, [cached.job_id])

    rows = await client.get_usage(*today(), group_by=("label:team", "model"))

    [row] = [row for row in rows if row.group == {"label:team": "costs", "model": model}]
    assert (free.cost_usd, free.state) == (0.0, JobState.SUCCEEDED)
    assert row.jobs == 3
    assert row.cost_usd == pytest.approx(spoilt.cost_usd + clean.cost_usd)
    assert row.wasted_usd == pytest.approx(spoilt.attempts[0].cost_usd)
    assert row.wasted_usd > 0
    told = [attempt.usage for job in (spoilt, clean) for attempt in job.attempts]
    assert row.usage.input_tokens == sum(usage.input_tokens for usage in told if usage)
    assert row.usage.output_tokens == sum(usage.output_tokens for usage in told if usage)


async def test_a_call_that_was_sent_and_never_answered_is_counted_apart(fleet: Fleet, request_for: RequestFor) -> None:
    client = fleet.clients[0]
    model = "gemini-3.5-flash"
    await fleet.emulator.script("reset-after", model=model, count=1)
    job = await client.submit(request_for("Was it billed?", model=model, labels={"team": "ambiguous"}))

    [done] = await finished(client, [job.job_id])

    assert done.state is JobState.SUCCEEDED
    assert [(attempt.paid, attempt.unanswered) for attempt in done.attempts] == [(True, True), (True, False)]
    rows = await client.get_usage(*today(), group_by=("label:team",))
    [row] = [row for row in rows if row.group == {"label:team": "ambiguous"}]
    assert (row.jobs, row.unanswered_calls) == (1, 1)


async def test_low_priority_goes_by_the_cheaper_tier(fleet: Fleet, request_for: RequestFor) -> None:
    client = fleet.clients[0]
    jobs = [await client.submit(request_for("Cheap?", priority=priority, cache="OFF")) for priority in (3, 2)]

    flex, standard = await finished(client, [job.job_id for job in jobs])

    assert [flex.attempts[0].service_tier, standard.attempts[0].service_tier] == ["FLEX", "STANDARD"]
    assert flex.attempts[0].usage == standard.attempts[0].usage
    assert flex.cost_usd == pytest.approx(standard.cost_usd / 2)
    assert flex.spec.timeout == datetime.timedelta(minutes=20)


async def test_another_model_that_answers_raises_an_alert_until_the_right_one_answers(
    fleet: Fleet, request_for: RequestFor
) -> None:
    client = fleet.clients[0]
    model = "gemini-3.6-flash"
    await fleet.emulator.reroute({model: "gemini-3.5-flash-lite"})
    try:
        job = await client.submit(request_for("Who answers?", model=model))
        [done] = await finished(client, [job.job_id])
    finally:
        await fleet.emulator.reroute({})

    assert done.result is not None
    assert done.result.model_version.startswith("gemini-3.5-flash-lite")
    [alert] = [alert for alert in await client.list_alerts() if alert.name == "MODEL_REROUTED"]
    assert alert.active
    assert model in alert.message
    assert "gemini-3.5-flash-lite" in alert.message

    async with asyncio.timeout(PATIENCE_SECONDS):
        # The schedulers hear of each other's alerts within a second, and the one that hears this answer may be the other.
        while await client.list_alerts():
            job = await client.submit(request_for("Who answers now?", model=model, cache="OFF"))
            await finished(client, [job.job_id])
    [over] = [alert for alert in await client.list_alerts(include_ended=True) if alert.name == "MODEL_REROUTED"]
    assert over.end_time is not None
