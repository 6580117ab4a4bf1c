"""`visionjobs cancel`, `retry`, `cancel-jobs` and `retry-jobs`."""

import asyncio
import os

import pytest
from command_line import Cli, at_a_terminal, everything, lines, without_style
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler
from google.protobuf import timestamp_pb2

from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as service_pb2


async def test_cancel_stops_each_job_and_says_so(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b", "RUNNING")}

    result = await cli("cancel", "a", "b", "a")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "a\tCANCELLED\nb\tCANCELLED\n"


async def test_a_job_that_cannot_be_cancelled_does_not_keep_the_others_from_it(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    scheduler.jobs = {"ended": succeeded("ended"), "b": job_message("b")}

    result = await cli("cancel", "ended", "nobody", "b")

    assert result.exit_code == 5
    assert result.stdout == "b\tCANCELLED\n"
    assert result.stderr == "The job ended has ended.\nThere is no job nobody.\n"


async def test_a_missing_job_is_told_by_the_exit_code(cli: Cli) -> None:
    cancelled, retried = await cli("cancel", "nobody"), await cli("retry", "nobody", "--watch")

    assert (cancelled.exit_code, retried.exit_code) == (3, 3)


async def test_retry_names_the_new_job_and_the_old_one(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a", "FAILED"), "b": job_message("b", "RUNNING")}

    result = await cli("retry", "a", "b")

    assert result.exit_code == 5
    assert result.stdout == "job-3\tQUEUED\tretry of a\n"
    assert result.stderr == "The job b has not ended.\n"


async def test_retry_and_watch_follows_the_new_job_to_its_result(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["a"] = job_message("a", "FAILED")
    scheduler.streams.append([job_message("job-2"), succeeded("job-2")])

    result = await cli("retry", "a", "--watch")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == ["job-2\tQUEUED", "job-2\tSUCCEEDED\t$0.0012 · gemini-3.8-flash"]
    assert scheduler.requests[-1].job_id == "job-2"


async def test_retry_and_watch_names_what_is_under_way_when_it_cannot_go_on(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a", "FAILED")}
    scheduler.failures_after = 1
    scheduler.failures.append(failure("INTERNAL", "Broken."))

    result = await cli("retry", "a", "b", "--watch")

    assert result.exit_code == 5
    assert result.stdout == "job-2\tQUEUED\tretry of a\n"


async def test_json_of_a_retry_and_a_cancellation_is_the_job(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a", "FAILED")}

    [retried] = lines(await cli("retry", "a", "--json"))
    [cancelled] = lines(await cli("cancel", "job-2", "--json"))

    assert (retried["job_id"], retried["state"], retried["retried_from"]) == ("job-2", "QUEUED", "a")
    assert (cancelled["job_id"], cancelled["state"]) == ("job-2", "CANCELLED")


async def test_every_filter_option_reaches_the_scheduler(cli: Cli, scheduler: FakeScheduler) -> None:
    result = await cli(
        *("cancel-jobs", "--user", "u", "--state", "queued", "--state", "running", "--label", "team=a"),
        *("--lane", "gemini/x", "--from", "2027-01-15T08:00Z", "--to", "2027-01-15T09:00Z", "--dry-run"),
    )

    assert result.exit_code == 0
    assert scheduler.requests == [
        service_pb2.CancelJobsRequest(
            filter=service_pb2.JobFilter(
                user_id="u",
                states=[job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING],
                labels={"team": "a"},
                lane="gemini/x",
                from_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
                to_time=timestamp_pb2.Timestamp(seconds=1_800_003_600),
            ),
            dry_run=True,
        )
    ]


async def test_a_dry_run_only_counts(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b", "FAILED"), "c": job_message("c", "FAILED")}

    cancelled = await cli("cancel-jobs", "--state", "queued", "--dry-run")
    retried = await cli("retry-jobs", "--from", "-2h", "--dry-run", "--yes")

    assert (cancelled.exit_code, cancelled.stdout) == (0, "1 job would be cancelled.\n")
    assert (retried.exit_code, retried.stdout) == (0, "2 jobs would be submitted again.\n")
    assert all(request.dry_run for request in scheduler.requests)


async def test_yes_counts_first_and_does_it_then(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b", "FAILED"), "c": job_message("c", "FAILED")}

    retried = await cli("retry-jobs", "--state", "failed", "--yes")
    cancelled = await cli("cancel-jobs", "--state", "queued", "--yes", "--json")

    assert (retried.exit_code, cancelled.exit_code) == (0, 0)
    assert retried.stdout == "2 jobs would be submitted again.\n2 jobs were submitted again.\n"
    assert lines(cancelled) == [{"count": 3, "dry_run": True}, {"count": 3, "dry_run": False}]
    assert [request.dry_run for request in scheduler.requests] == [True, False, True, False]


@pytest.mark.parametrize("state", ["queued", "expired"])
async def test_without_a_terminal_and_without_yes_it_stops_after_the_count(
    cli: Cli, scheduler: FakeScheduler, state: str
) -> None:
    scheduler.jobs["a"] = job_message("a")

    result = await cli("cancel-jobs", "--state", state, stdin=b"y\n")

    assert result.exit_code == 2
    assert result.stdout.endswith("would be cancelled.\n")
    assert result.stderr == "Nothing is done without a terminal to ask at: --yes does it, --dry-run only counts.\n"
    assert [request.dry_run for request in scheduler.requests] == [True]


async def test_an_error_in_the_middle_says_that_what_is_done_stays_done(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.failures_after = 1
    scheduler.failures.append(failure("INTERNAL", "Broken."))

    result = await cli("retry-jobs", "--user", "u", "--yes")

    assert result.exit_code == 5
    assert result.stderr.startswith("What was submitted again before this stays so.\n")


@pytest.mark.parametrize(
    ("answer", "exit_code", "said", "done"),
    [
        (b"y\n", 0, "1 job was cancelled.", [True, False]),
        (b"n\n", 1, "Nothing is done.", [True]),
        (b"\n", 1, "Nothing is done.", [True]),
        (b"\x04", 130, "Nothing is done.", [True]),
    ],
)
async def test_a_person_at_a_terminal_is_asked(
    scheduler: FakeScheduler, answer: bytes, exit_code: int, said: str, done: list[bool]
) -> None:
    scheduler.jobs["a"] = job_message("a")

    async with at_a_terminal(scheduler, "cancel-jobs", "--state", "queued") as (terminal, process):
        os.write(terminal, answer)
        shown = without_style(await asyncio.to_thread(everything, terminal))

        assert await process.wait() == exit_code

    assert "1 job would be cancelled." in shown
    assert "Cancel it? [y/N]" in shown
    assert said in shown
    assert [request.dry_run for request in scheduler.requests] == done


async def test_nobody_is_asked_about_no_jobs(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "cancel-jobs", "--state", "queued") as (terminal, process):
        shown = without_style(await asyncio.to_thread(everything, terminal))

        assert await process.wait() == 0

    assert "0 jobs would be cancelled." in shown
    assert "?" not in shown
