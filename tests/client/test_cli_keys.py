"""`visionjobs keys`, `purge-user`, `audit` and `link`, and how the command line is told a key."""

import asyncio
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, at_a_terminal, everything, lines, without_style
from fake_answers import failure, job_message, key_message
from fake_keys import SECRET
from fake_scheduler import FakeScheduler
from google.protobuf import duration_pb2, timestamp_pb2
from typer.testing import CliRunner

from visionjobs.cli import key_wording
from visionjobs.cli.app import app
from visionjobs.keys import Key, Purged
from visionjobs.mapping import keys as mapping
from visionjobs.v1 import admin_service_pb2, job_pb2, vision_job_service_pb2

NOON = datetime(2030, 1, 31, 12).astimezone()
KEY = "vj_0123456789ab_a-key-that-nobody-may-see"


def at(time: datetime) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(time.timestamp()))


def key(**fields: Any) -> Key:
    return mapping.key(key_message("k", **fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "works"),
        ({"old_secret_expire_time": at(NOON + timedelta(minutes=1))}, "works, old secret until 12:01:00"),
        ({"old_secret_expire_time": at(NOON - timedelta(minutes=1))}, "works"),
        ({"revoke_time": at(NOON - timedelta(minutes=1))}, "revoked, since 11:59"),
        ({"revoke_time": at(NOON - timedelta(days=1))}, "revoked, since 2030-01-30"),
    ],
)
def test_the_state_of_a_key_is_told_in_plain_words(fields: dict[str, Any], words: str) -> None:
    assert key_wording.state(key(**fields), NOON) == words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"max_priority": 1}, ""),
        ({"max_priority": 2}, "priority 2 or 3"),
        ({"max_priority": 3, "submissions_per_second": 0.5}, "priority 3, 0.5 jobs/s"),
        ({"submissions_per_second": 50, "max_queued_jobs": 10_000}, "50 jobs/s, 10,000 in the queue"),
        ({"submissions_per_second": 1_000_000}, "1,000,000 jobs/s"),
    ],
)
def test_the_limits_of_a_key_are_told_with_their_units(fields: dict[str, Any], words: str) -> None:
    assert key_wording.limits(key(**fields)) == words


def test_the_last_use_is_told_to_the_minute_today_and_to_the_day_before() -> None:
    assert key_wording.last_used(key(), NOON) == "never"
    assert key_wording.last_used(key(last_used_time=at(NOON - timedelta(minutes=5))), NOON) == "11:55"
    assert key_wording.last_used(key(last_used_time=at(NOON - timedelta(days=1))), NOON) == "2030-01-30"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 0, 0, 0, 0), "0 prompts, 0 images and 0 results of u-17 are gone for good."),
        (
            (1, 1, 1, 1, 1),
            (
                "1 prompt, 1 image and 1 result of u-17 are gone for good. 1 unfinished job was cancelled. "
                "1 image stays until unfinished jobs of other users are done with it."
            ),
        ),
        (
            (1200, 3, 2, 2, 2),
            (
                "1,200 prompts, 3 images and 2 results of u-17 are gone for good. 2 unfinished jobs were cancelled. "
                "2 images stay until unfinished jobs of other users are done with them."
            ),
        ),
    ],
)
def test_a_purge_is_told_in_sentences(numbers: tuple[int, int, int, int, int], words: str) -> None:
    jobs, images, results, cancelled, kept = numbers
    purged = Purged(jobs=jobs, images=images, results=results, cancelled_jobs=cancelled, kept_images=kept)

    assert key_wording.purge(purged, "u-17") == words


async def test_a_new_key_is_the_only_line_of_stdout(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.keys["k"] = key_message("k")

    result = await cli("keys", "create", "--client", "billing", "--role", "client")

    assert (result.exit_code, result.stdout) == (0, f"{SECRET}\n")
    assert result.stderr == (
        "This is the client key key2 of billing. It is shown only now; keep it in the file that "
        "VISIONJOBS_API_KEY_FILE names.\n"
    )
    assert SECRET not in result.stderr


async def test_the_limits_of_a_new_key_reach_the_scheduler(cli: Cli, scheduler: FakeScheduler) -> None:
    result = await cli(
        *("keys", "create", "--client", "gpu-1", "--role", "EXECUTOR", "--max-priority", "2"),
        *("--submissions-per-second", "0.5", "--max-queued-jobs", "1000"),
    )

    assert result.exit_code == 0, result.stderr
    assert "EXECUTOR_API_KEY_FILE" in result.stderr
    assert scheduler.requests[-1] == admin_service_pb2.CreateKeyRequest(
        client_id="gpu-1",
        role=admin_service_pb2.ROLE_EXECUTOR,
        max_priority=2,
        submissions_per_second=0.5,
        max_queued_jobs=1000,
    )


@pytest.mark.parametrize(("role", "hint"), [("admin", False), ("client", True)])
async def test_who_makes_the_first_key_is_told_that_the_doors_close(cli: Cli, role: str, hint: bool) -> None:
    first = await cli("keys", "create", "--client", "ops", "--role", role)
    second = await cli("keys", "create", "--client", "ops", "--role", role)

    assert "from now on every call needs one" in first.stderr
    assert ("bootstrap-key" in first.stderr) is hint
    assert "from now on" not in second.stderr
    assert first.stdout == second.stdout == f"{SECRET}\n"


async def test_a_new_key_as_json_is_one_document_with_the_names_of_the_contract(cli: Cli) -> None:
    [document] = lines(await cli("keys", "create", "--client", "ops", "--role", "admin", "--json"))

    assert list(document) == ["key", "secret"]
    assert document["secret"] == SECRET
    told = document["key"]
    assert isinstance(told, dict)
    assert list(told) == [field.name for field in admin_service_pb2.Key.DESCRIPTOR.fields]
    assert (told["role"], told["create_time"], told["revoke_time"]) == ("ADMIN", "2027-01-15T08:00:00Z", None)


async def test_a_role_that_is_none_is_wrong_usage(cli: Cli, scheduler: FakeScheduler) -> None:
    result = await cli("keys", "create", "--client", "ops", "--role", "king")

    assert (result.exit_code, scheduler.requests) == (2, [])


async def test_who_does_not_know_whether_a_key_was_made_is_told_where_to_look(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    scheduler.keys["k"] = key_message("k")
    away = failure("UNAVAILABLE", "Away.", reason="STORE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))
    scheduler.failures.append(away)
    scheduler.failures_after = 1

    created = await cli("keys", "create", "--client", "ops", "--role", "admin")
    scheduler.failures.append(away)
    rotated = await cli("keys", "rotate", "k")

    assert [created.exit_code, rotated.exit_code] == [4, 4]
    assert created.stderr.startswith("Whether a key was made is not known: `visionjobs keys list` shows it")
    assert rotated.stderr.startswith("Whether the key was rotated is not known: `visionjobs keys list` shows it")
    assert len(scheduler.requests) == 3


async def test_keys_are_a_line_each(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.keys = {
        "k2": key_message("k2", max_priority=2, last_used_time=timestamp_pb2.Timestamp(seconds=1_800_000_060)),
        "k1": key_message("k1", client_id="\x1b[31mops", role=admin_service_pb2.ROLE_ADMIN),
    }

    result = await cli("keys", "list")

    rows = [line.split("\t") for line in result.stdout.splitlines()]
    made = datetime.fromtimestamp(1_800_000_000).astimezone()
    assert rows == [
        [
            "k2",
            "billing",
            "client",
            "priority 2 or 3",
            f"created {made}",
            f"used {made + timedelta(minutes=1)}",
            "works",
        ],
        ["k1", "\ufffd[31mops", "admin", "default", f"created {made}", "used never", "works"],
    ]


async def test_json_of_a_key_has_the_names_of_the_contract(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.keys["k"] = key_message("k")

    [document] = lines(await cli("keys", "list", "--json"))

    assert list(document) == [field.name for field in admin_service_pb2.Key.DESCRIPTOR.fields]


@pytest.mark.parametrize("columns", [80, 140])
async def test_a_person_at_a_terminal_sees_a_table_of_keys(scheduler: FakeScheduler, columns: int) -> None:
    scheduler.keys = {
        "0123456789ab": key_message("0123456789ab", max_priority=2),
        "ba9876543210": key_message("ba9876543210", revoke_time=timestamp_pb2.Timestamp(seconds=1_800_000_000)),
    }

    async with at_a_terminal(scheduler, "keys", "list", columns=columns) as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    assert [line.split() for line in shown.splitlines()] == [
        ["Key", "Client", "Role", "Created", "Last", "used", "State"],
        ["0123456789ab", "billing", "client", "2027-01-15", "never", "works"],
        ["priority", "2", "or", "3"],
        ["ba9876543210", "billing", "client", "2027-01-15", "never", "revoked"],
        ["since", "2027-01-15"],
    ]
    assert all(len(line.rstrip("\r\n")) <= columns for line in shown.splitlines())


async def test_no_keys_are_told_as_such_at_a_terminal(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "keys", "list") as (terminal, _):
        assert without_style(await asyncio.to_thread(everything, terminal)).strip() == "No keys."


async def test_a_key_is_not_cut_into_lines_by_a_narrow_terminal(scheduler: FakeScheduler) -> None:
    scheduler.keys["k"] = key_message("k")

    async with at_a_terminal(scheduler, "keys", "rotate", "k", columns=20) as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    assert shown.splitlines()[-1] == SECRET


async def test_a_key_is_rotated_and_the_new_secret_is_alone_on_stdout(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.keys["k"] = key_message("k")

    usual = await cli("keys", "rotate", "k")
    at_once = await cli("keys", "rotate", "k", "--overlap", "0s", "--json")

    assert (usual.exit_code, usual.stdout) == (0, f"{SECRET}\n")
    assert "the old secret works until" in usual.stderr
    assert "the old secret has ended" in at_once.stderr
    assert lines(at_once)[0]["secret"] == SECRET
    assert scheduler.requests == [
        admin_service_pb2.RotateKeyRequest(key_id="k"),
        admin_service_pb2.RotateKeyRequest(key_id="k", overlap=duration_pb2.Duration()),
    ]


async def test_a_key_is_not_revoked_without_a_question_or_yes(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.keys["k"] = key_message("k")

    unasked = await cli("keys", "revoke", "k")
    agreed = await cli("keys", "revoke", "k", "--yes")

    assert (unasked.exit_code, unasked.stderr) == (2, "Nothing is done without a terminal to ask at: --yes does it.\n")
    assert agreed.exit_code == 0
    assert "\trevoked, since 2027-01-15" in agreed.stdout
    assert scheduler.requests == [admin_service_pb2.RevokeKeyRequest(key_id="k")]


@pytest.mark.parametrize(("answer", "code", "revoked"), [(b"y\n", 0, True), (b"n\n", 1, False)])
async def test_a_person_is_asked_which_key_is_meant(
    scheduler: FakeScheduler, answer: bytes, code: int, revoked: bool
) -> None:
    scheduler.keys["k"] = key_message("k")

    async with at_a_terminal(scheduler, "keys", "revoke", "k") as (terminal, process):
        os.write(terminal, answer)
        shown = without_style(await asyncio.to_thread(everything, terminal))
        assert await process.wait() == code

    assert "Revoke the client key k of billing, last used: never?" in shown
    assert scheduler.keys["k"].HasField("revoke_time") is revoked


async def test_a_missing_key_exits_with_3(cli: Cli, scheduler: FakeScheduler) -> None:
    result = await cli("keys", "rotate", "k")

    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "There is no key k.\n")
    async with at_a_terminal(scheduler, "keys", "revoke", "k") as (terminal, process):
        assert "There is no key k." in await asyncio.to_thread(everything, terminal)
        assert await process.wait() == 3


async def test_a_purge_says_what_it_removed(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.purged = admin_service_pb2.PurgeUserResponse(jobs=3, images=2, results=1)

    unasked = await cli("purge-user", "--client", "billing", "--user", "u-17")
    told = await cli("purge-user", "--client", "billing", "--user", "u-17", "--yes")
    as_json = await cli("purge-user", "--client", "billing", "--user", "u-17", "--yes", "--json")

    assert (unasked.exit_code, unasked.stdout) == (2, "")
    assert told.stdout == "3 prompts, 2 images and 1 result of u-17 are gone for good.\n"
    assert lines(as_json) == [{"jobs": 3, "images": 2, "results": 1, "cancelled_jobs": 0, "kept_images": 0}]
    assert scheduler.requests == [admin_service_pb2.PurgeUserRequest(client_id="billing", user_id="u-17")] * 2


async def test_a_person_is_asked_before_a_purge(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "purge-user", "--client", "billing", "--user", "u-17") as (terminal, process):
        os.write(terminal, b"n\n")
        shown = without_style(await asyncio.to_thread(everything, terminal))
        assert await process.wait() == 1

    assert "Cancel all unfinished jobs of u-17 of billing, and remove" in shown
    assert "Nothing is done." in shown
    assert scheduler.requests == []


@pytest.fixture
def changes(scheduler: FakeScheduler) -> None:
    scheduler.entries = [
        admin_service_pb2.AuditEntry(
            audit_id=2,
            create_time=timestamp_pb2.Timestamp(seconds=1_800_000_060),
            key_id="0123456789ab",
            client_id="ops",
            method="/visionjobs.v1.AdminService/PauseLane",
            request_json='{"lane": "*"}',
            outcome="OK",
        ),
        admin_service_pb2.AuditEntry(
            audit_id=1,
            create_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
            client_id="local",
            method="bootstrap-key",
            request_json='{"role": "admin"}',
        ),
    ]


@pytest.mark.usefixtures("changes")
async def test_changes_are_a_line_each(cli: Cli) -> None:
    result = await cli("audit")

    made = datetime.fromtimestamp(1_800_000_000).astimezone()
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        [str(made + timedelta(minutes=1)), "ops (0123456789ab)", "PauseLane", "OK", '{"lane": "*"}'],
        [str(made), "local", "bootstrap-key", "unfinished", '{"role": "admin"}'],
    ]


@pytest.mark.usefixtures("changes")
async def test_as_many_changes_are_asked_for_as_are_wanted(cli: Cli, scheduler: FakeScheduler) -> None:
    [document] = lines(await cli("audit", "--limit", "1", "--json"))

    assert list(document) == [field.name for field in admin_service_pb2.AuditEntry.DESCRIPTOR.fields]
    assert document["audit_id"] == 2
    assert [request.page_size for request in scheduler.requests] == [1]


@pytest.mark.usefixtures("changes")
async def test_a_person_at_a_terminal_sees_what_was_asked_for_below_each_change(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "audit", columns=80) as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    header, first, request, *_ = (line.split() for line in shown.splitlines())
    assert header == ["Time", "By", "Call", "Outcome"]
    assert first[-4:] == ["ops", "(0123456789ab)", "PauseLane", "OK"]
    assert request == ['{"lane":', '"*"}']
    assert all(len(line.rstrip("\r\n")) <= 80 for line in shown.splitlines())


async def test_a_link_is_the_only_line_of_stdout(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = job_message("j")

    told = await cli("link", "j", "--lifetime", "5m")
    as_json = await cli("link", "j", "--json")

    assert told.stdout == "https://jobs.example/jobs/j?link=signed\n"
    assert told.stderr.startswith("Anybody who has this link can read the job until 2027-01-15")
    assert lines(as_json) == [{"url": "https://jobs.example/jobs/j?link=signed", "expire_time": "2027-01-15T08:00:00Z"}]
    assert scheduler.requests == [
        vision_job_service_pb2.CreateJobLinkRequest(job_id="j", lifetime=duration_pb2.Duration(seconds=300)),
        vision_job_service_pb2.CreateJobLinkRequest(job_id="j"),
    ]


async def test_a_link_without_a_host_is_explained(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = job_message("j")
    scheduler.public_url = ""

    result = await cli("link", "j")

    assert result.stdout == "/jobs/j?link=signed\n"
    assert "no public URL is configured" in result.stderr


@pytest.mark.parametrize(
    ("code", "reason"), [("UNAUTHENTICATED", "KEY_MISSING"), ("PERMISSION_DENIED", "ROLE_MISSING")]
)
async def test_who_is_refused_is_told_where_the_key_belongs(
    cli: Cli, scheduler: FakeScheduler, code: str, reason: str
) -> None:
    scheduler.failures.append(failure(code, "No.", reason=reason))

    result = await cli("list")

    assert result.exit_code == 5
    assert f"refused the call: {code}: No.\nSet VISIONJOBS_API_KEY to a key that may" in result.stderr


async def test_who_submits_too_fast_is_told_what_is_waited_for(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.failures.append(
        failure("RESOURCE_EXHAUSTED", "5 jobs/s.", reason="RATE_LIMITED", retry_after=timedelta(seconds=0.1))
    )

    result = await cli("list")

    assert result.exit_code == 0
    assert result.stderr == (
        "The scheduler takes no more jobs of this client for the moment; trying again for up to 30 s.\n"
    )


def test_a_key_cannot_be_an_argument_where_others_see_it() -> None:
    result = CliRunner().invoke(app, ["--api-key", KEY, "list"])

    assert result.exit_code == 2
    assert KEY not in result.output


async def test_the_key_comes_from_the_environment(
    cli: Cli, scheduler: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("VISIONJOBS_API_KEY_FILE", str(tmp_path / "key"))

    assert (await cli("list")).exit_code == 0
    assert scheduler.metadata[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("options", [[], ["--no-tls"], ["--no-tls", "--tls-ca-file", "/nowhere"]])
def test_a_key_is_not_sent_beyond_this_machine_without_tls(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_API_KEY", KEY)

    result = CliRunner().invoke(app, ["--address", "scheduler:50051", *options, "list"])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("The API key is not sent to scheduler:50051 without TLS")
    assert KEY not in result.stderr


def test_a_file_that_is_not_in_order_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["--tls-ca-file", "/nowhere/ca.pem", "list"])

    assert (result.exit_code, result.stderr) == (2, "/nowhere/ca.pem cannot be read (No such file or directory).\n")


async def test_a_purged_job_is_shown_without_its_output(scheduler: FakeScheduler, cli: Cli) -> None:
    scheduler.jobs["j"] = job_message("j", "SUCCEEDED", purged=True, result=job_pb2.Result(model_version="m"))

    shown = await cli("get", "j")
    assert (shown.exit_code, shown.stderr) == (0, "")
    told = json.loads((await cli("get", "j", "--json")).stdout)
    assert (told["purged"], told["result"]["output"]) == (True, None)
