"""The client stops jobs and does them again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_answers import failure, job_message
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

import visionjobs
from visionjobs import AsyncClient, JobFilter, JobState
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as service_pb2

AWAY = failure("UNAVAILABLE", "The database is away.", reason="STORE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))


async def test_a_cancelled_job_comes_back_and_may_be_cancelled_again(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.jobs["j"] = job_message("j")

    first, second = await client.cancel("j"), await client.cancel("j")

    assert first.state is JobState.CANCELLED
    assert first == second


async def test_a_job_that_has_ended_cannot_be_cancelled_and_one_that_runs_not_retried(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.jobs = {"ended": job_message("ended", "FAILED"), "runs": job_message("runs", "RUNNING")}

    with pytest.raises(visionjobs.FailedPrecondition, match="ended has ended"):
        await client.cancel("ended")
    with pytest.raises(visionjobs.FailedPrecondition, match="runs has not ended"):
        await client.retry("runs")
    with pytest.raises(visionjobs.NotFound):
        await client.cancel("nobody")


async def test_a_retry_is_a_new_job_that_names_the_old_one(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs["j"] = job_message("j", "FAILED")

    job = await client.retry("j", request_id="r-1")

    assert (job.job_id, job.state, job.retried_from) == ("job-2", JobState.QUEUED, "j")
    assert scheduler.requests == [service_pb2.RetryJobRequest(job_id="j", request_id="r-1")]


async def test_a_repeated_retry_keeps_its_id_and_the_next_one_has_another(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.jobs["j"] = job_message("j", "FAILED")
    scheduler.failures.append(AWAY)

    await client.retry("j")
    await client.retry("j")

    first, again, other = (request.request_id for request in scheduler.requests)
    assert first
    assert first == again
    assert other not in {"", first}


async def test_every_condition_of_a_filter_reaches_the_scheduler(scheduler: FakeScheduler, client: AsyncClient) -> None:
    job_filter = JobFilter(
        user_id="u",
        states=[JobState.QUEUED, JobState.FAILED],
        labels={"team": "a"},
        lane="gemini/x",
        from_time=datetime(2027, 1, 15, 8, tzinfo=UTC),
        to_time=datetime(2027, 1, 15, 9, tzinfo=UTC),
    )

    await client.cancel_jobs(job_filter)
    await client.retry_jobs(job_filter, dry_run=True)

    message = service_pb2.JobFilter(
        user_id="u",
        states=[job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_FAILED],
        labels={"team": "a"},
        lane="gemini/x",
        from_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        to_time=timestamp_pb2.Timestamp(seconds=1_800_003_600),
    )
    assert scheduler.requests == [
        service_pb2.CancelJobsRequest(filter=message),
        service_pb2.RetryJobsRequest(filter=message, dry_run=True),
    ]


async def test_jobs_in_bulk_are_counted_first_and_changed_then(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b", "FAILED"), "c": job_message("c", "FAILED")}
    queued, failed = JobFilter(states=[JobState.QUEUED]), JobFilter(states=[JobState.FAILED])

    assert await client.cancel_jobs(queued, dry_run=True) == 1
    assert await client.retry_jobs(failed, dry_run=True) == 2
    assert len(scheduler.jobs) == 3
    assert await client.cancel_jobs(queued) == 1
    assert await client.retry_jobs(failed) == 2
    assert scheduler.jobs["a"].state == job_pb2.JOB_STATE_CANCELLED
    assert [job.retried_from for job in scheduler.jobs.values()] == ["", "", "", "b", "c"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"user_id": "u"},
        {"states": [JobState.FAILED]},
        {"labels": {"a": ""}},
        {"lane": "gemini/x"},
        {"from_time": datetime(2027, 1, 15, tzinfo=UTC)},
        {"to_time": datetime(2027, 1, 15, tzinfo=UTC)},
    ],
)
def test_one_condition_makes_a_filter(conditions: dict[str, Any]) -> None:
    job_filter = JobFilter(**conditions)

    assert {name: getattr(job_filter, name) for name in conditions} == conditions


def test_a_filter_without_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one condition"):
        JobFilter()


@pytest.mark.parametrize("name", ["from_time", "to_time"])
def test_a_filter_with_a_time_without_time_zone_is_refused(name: str) -> None:
    times: dict[str, Any] = {name: datetime(2027, 1, 15)}  # noqa: DTZ001 - what is refused

    with pytest.raises(ValueError, match=f"{name} has no time zone"):
        JobFilter(**times)


async def test_bulk_calls_are_repeated(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.failures.append(AWAY)
    await client.retry_jobs(JobFilter(user_id="u"))
    scheduler.failures.append(AWAY)
    await client.cancel_jobs(JobFilter(user_id="u"))

    assert len(scheduler.requests) == 4
