"""The command line in a thread of the test: what it asks, prints and exits with."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import Cli, lines
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler, serve
from google.protobuf import duration_pb2, timestamp_pb2
from typer.testing import CliRunner

from visionjobs.cli.app import app
from visionjobs.cli.arguments import duration, time_from
from visionjobs.v1 import job_pb2


async def test_every_option_of_submit_reaches_the_scheduler(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str, tmp_path: Path
) -> None:
    (tmp_path / "system.txt").write_text("Be brief.")

    result = await cli(
        *("submit", photo, "sha256:abcd", "--prompt", "Read.", "--schema", schema, "--model", "gemini-3.8-flash"),
        *("--priority", "1", "--user", "bob", "--label", "team=a", "--label", "empty=", "--timeout", "1m30s"),
        *("--max-retries", "0", "--system-instruction", f"@{tmp_path}/system.txt", "--temperature", "0"),
        *("--max-output-tokens", "9", "--media-resolution", "ultra-high", "--thinking-level", "low"),
        *("--service-tier", "flex", "https://example.com/a.png?signature=s"),
        *("--cache", "off", "--request-id", "r-1", "--fail-fast"),
        *("--schedule-time", "2030-01-31T08:00Z", "--expire-time", "2030-01-31T10:00+01:00"),
    )

    assert result.exit_code == 0, result.stderr
    assert result.stdout == "job-1\tQUEUED\n"
    [request] = scheduler.requests
    assert request.request_id == "r-1"
    assert request.spec == job_pb2.JobSpec(
        user_id="bob",
        images=[
            job_pb2.Image(data=b"jpeg"),
            job_pb2.Image(sha256="abcd"),
            job_pb2.Image(uri="https://example.com/a.png?signature=s"),
        ],
        prompt="Read.",
        response_schema_json='{"type":  "object"}',
        system_instruction="Be brief.",
        model="gemini-3.8-flash",
        priority=1,
        labels={"team": "a", "empty": ""},
        timeout=duration_pb2.Duration(seconds=90),
        schedule_time=timestamp_pb2.Timestamp(seconds=1_896_076_800),
        expire_time=timestamp_pb2.Timestamp(seconds=1_896_080_400),
        max_retries=0,
        generation=job_pb2.Generation(
            temperature=0.0,
            max_output_tokens=9,
            media_resolution="ULTRA_HIGH",
            thinking_level="LOW",
            service_tier="FLEX",
        ),
        cache=job_pb2.CACHE_POLICY_OFF,
        fail_fast=True,
    )


async def test_the_user_is_who_is_logged_in_and_the_prompt_may_come_from_stdin(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str
) -> None:
    result = await cli("submit", photo, "--prompt", "@-", "--schema", schema, stdin="Café?".encode())

    assert result.exit_code == 0, result.stderr
    assert (scheduler.requests[0].spec.user_id, scheduler.requests[0].spec.prompt) == ("ada", "Café?")


async def test_submit_and_watch_tells_every_change_and_the_result(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str
) -> None:
    running = job_message("job-1", "RUNNING", stage=job_pb2.JOB_STAGE_GEMINI_ANALYZING)
    scheduler.streams.append([job_message("job-1"), running, succeeded("job-1", '{"b": "é", "a": 1}')])

    result = await cli("submit", photo, "--prompt", "Read.", "--schema", schema, "--watch")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "job-1\tQUEUED",
        "job-1\tRUNNING\tGemini is analyzing",
        "job-1\tSUCCEEDED\t$0.0012 · gemini-3.8-flash",
        "{",
        '  "b": "é",',
        '  "a": 1',
        "}",
    ]


async def test_json_of_a_watch_is_one_object_a_line(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("j"), succeeded("j")])
    scheduler.jobs["j"] = succeeded("j")

    result = await cli("watch", "j", "--json")

    assert result.exit_code == 0
    first, last = lines(result)
    assert (first["job_id"], first["state"], first["result"]) == ("j", "QUEUED", None)
    assert isinstance(last["result"], dict)
    assert last["result"]["output"] == {"total": 4.5}
    assert result.stderr == ""


async def test_json_of_a_job_has_the_names_of_the_contract_and_parsed_documents(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    job = succeeded("j", '{"a": 1}')
    job.spec.response_schema_json = '{"type": "object"}'
    job.spec.timeout.FromTimedelta(timedelta(minutes=5))
    job.spec.labels["timeout"] = "x"
    job.spec.images.add(sha256="ab", mime_type="image/png")
    job.create_time.FromMilliseconds(1_800_000_000_000)
    job.result.stage_durations.add(stage=job_pb2.JOB_STAGE_VALIDATING).duration.FromMilliseconds(1500)
    scheduler.jobs["j"] = job

    result = await cli("get", "j", "--json")

    [document] = lines(result)
    assert document["create_time"] == "2027-01-15T08:00:00Z"
    assert document["finish_time"] is None
    spec, answer = document["spec"], document["result"]
    assert isinstance(spec, dict)
    assert isinstance(answer, dict)
    assert spec["response_schema"] == {"type": "object"}
    assert spec["timeout_seconds"] == 300
    assert spec["labels"] == {"timeout": "x"}
    assert spec["images"] == [{"sha256": "ab", "mime_type": "image/png", "uri": ""}]
    assert answer["output"] == {"a": 1}
    assert answer["stage_durations"] == [{"stage": "VALIDATING", "duration_seconds": 1.5}]


async def test_a_list_is_filtered_and_limited(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs = {f"j{i}": job_message(f"j{i}") for i in range(5)}

    result = await cli("list", "--user", "u", "--state", "queued", "--label", "a=b", "--limit", "3", "--json")

    assert result.exit_code == 0
    assert [job["job_id"] for job in lines(result)] == ["j0", "j1", "j2"]
    [request] = scheduler.requests
    assert (request.user_id, list(request.states), dict(request.labels)) == (
        "u",
        [job_pb2.JOB_STATE_QUEUED],
        {"a": "b"},
    )


async def test_a_plain_list_is_a_line_for_each_job(cli: Cli, scheduler: FakeScheduler) -> None:
    wait = job_pb2.Wait(reason=job_pb2.WAIT_REASON_NO_EXECUTOR)
    scheduler.jobs["j"] = job_message("j", spec=job_pb2.JobSpec(user_id="u"), wait=wait)

    result = await cli("list")

    assert result.stdout == "j\tQUEUED\t\tu\tno executor\n"


async def test_a_waiting_job_says_why_until_when_and_what_that_means(cli: Cli, scheduler: FakeScheduler) -> None:
    wait = job_pb2.Wait(reason=job_pb2.WAIT_REASON_CIRCUIT_BREAKER, message="The provider fails.")
    wait.until_time.FromDatetime(datetime(2030, 1, 31, 8, tzinfo=UTC))
    scheduler.jobs["j"] = job_message("j", wait=wait)
    scheduler.streams.append([scheduler.jobs["j"]])

    outputs = [await cli("get", "j"), await cli("list"), await cli("watch", "j")]

    local = datetime(2030, 1, 31, 8, tzinfo=UTC).astimezone()
    for result in outputs:
        assert f"circuit breaker until {local:%Y-%m-%d %H:%M:%S}: The provider fails." in result.stdout


async def test_get_tells_what_a_job_repeats_and_between_which_times_it_may_start(
    cli: Cli, scheduler: FakeScheduler
) -> None:
    spec = job_pb2.JobSpec(cache=job_pb2.CACHE_POLICY_REFRESH)
    spec.schedule_time.FromDatetime(datetime(2030, 1, 31, 8, tzinfo=UTC))
    spec.expire_time.FromDatetime(datetime(2030, 1, 31, 9, tzinfo=UTC))
    scheduler.jobs["j"] = job_message("j", "SCHEDULED", spec=spec, retried_from="i")

    shown = (await cli("get", "j")).stdout.splitlines()

    begin, end = (datetime(2030, 1, 31, hour, tzinfo=UTC).astimezone().isoformat(sep=" ") for hour in (8, 9))
    assert {"Retry of: i", "Cache: refresh", f"Not before: {begin}", f"Expires: {end}"} <= set(shown)


async def test_json_of_a_watch_ends_with_the_whole_job(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str
) -> None:
    end = asyncio.Event()
    scheduler.streams.append([job_message("job-1"), end, succeeded("job-1")])
    asked = asyncio.create_task(cli("submit", photo, "--prompt", "Read.", "--schema", schema, "--watch", "--json"))
    await scheduler.watching.wait()
    scheduler.jobs["job-1"].MergeFrom(succeeded("job-1"))
    end.set()

    first, last = lines(await asked)

    assert isinstance(first["spec"], dict)
    assert isinstance(last["spec"], dict)
    assert first["spec"]["prompt"] == ""
    assert last["state"] == "SUCCEEDED"
    assert (last["spec"]["prompt"], last["spec"]["response_schema"]) == ("Read.", {"type": "object"})


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED"])
async def test_a_watch_of_a_job_that_ends_without_result_exits_with_1(
    cli: Cli, scheduler: FakeScheduler, state: str
) -> None:
    error = job_pb2.JobError(kind="BLOCKED", message="Refused.")
    scheduler.streams.append([job_message("j", state, error=error)])

    result = await cli("watch", "j")

    assert result.exit_code == 1
    assert result.stdout == f"j\t{state}\tBLOCKED: Refused.\n"


async def test_one_failure_among_many_exits_with_1(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("a", "FAILED"), succeeded("b")])

    result = await cli("watch", "a", "b")

    assert result.exit_code == 1
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [["a", "FAILED"], ["b", "SUCCEEDED"]]


async def test_get_of_a_failed_job_exits_with_0(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = job_message("j", "FAILED", error=job_pb2.JobError(kind="BLOCKED", message="Refused."))

    result = await cli("get", "j")

    assert result.exit_code == 0
    assert "BLOCKED: Refused." in result.stdout


async def test_refused_input_exits_with_2_and_names_each_field(
    cli: Cli, scheduler: FakeScheduler, photo: str, schema: str
) -> None:
    scheduler.failures.append(
        failure("INVALID_ARGUMENT", "Bad.", violations={"spec.prompt": "is blank", "spec.priority": "is 9"})
    )

    result = await cli("submit", photo, "--prompt", " ", "--schema", schema)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "The scheduler refused the input:\n  spec.prompt: is blank\n  spec.priority: is 9\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["submit", "absent.jpg", "--prompt", "x", "--schema", "schema.json"],
        ["submit", "/", "--prompt", "x", "--schema", "schema.json"],
        ["submit", "sha256:ab", "--prompt", "@absent.txt", "--schema", "schema.json"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "absent.json"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "latin.json"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--label", "novalue"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--timeout", "soon"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--cache", "maybe"],
        ["submit", "sha256:ab", "--prompt", "\udcff", "--schema", "schema.json"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--schedule-time", "soon"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--expire-time", "+soon"],
        ["submit", "sha256:ab", "--prompt", "x", "--schema", "schema.json", "--expire-time", "+999999999d"],
        ["list", "--state", "done"],
        ["list", "--limit", "0"],
        ["watch"],
        ["get", "\udcff"],
        ["cancel"],
        ["retry"],
        ["cancel-jobs", "--yes"],
        ["retry-jobs", "--yes"],
        ["cancel-jobs", "--state", "done", "--yes"],
        ["lanes", "nonsense"],
        ["lanes", "set", "gemini/x"],
        ["lanes", "set", "gemini/x", "--requests-per-minute", "-1"],
        ["lanes", "pause"],
        ["accepting"],
        ["accepting", "maybe"],
    ],
)
async def test_wrong_usage_exits_with_2_without_a_call(
    cli: Cli, scheduler: FakeScheduler, schema: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(Path(schema).parent)
    Path("latin.json").write_bytes(b'{"title": "\xe9"}')

    result = await cli(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr
    assert scheduler.requests == []


async def test_a_missing_job_exits_with_3(cli: Cli) -> None:
    got, watched = await cli("get", "nobody"), await cli("watch", "nobody")

    assert (got.exit_code, watched.exit_code) == (3, 3)
    assert got.stderr == watched.stderr == "There is no job nobody.\n"


async def test_an_unreachable_scheduler_exits_with_4_and_says_where_it_was_looked_for() -> None:
    gone = FakeScheduler()
    await (await serve(gone)).stop(None)

    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["--address", gone.address, "--call-timeout", "0.5", "get", "j"]
    )

    assert result.exit_code == 4
    assert f"The scheduler at {gone.address} cannot be reached" in result.stderr
    assert "trying again" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:50051", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:0", "127.0.0.1:65536", "a b:1", ":1"],
)
async def test_an_address_that_cannot_be_one_exits_with_2_at_once(address: str) -> None:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["--address", address, "get", "j"])

    assert result.exit_code == 2
    assert result.stderr == f"{address!r} is not an address of the form HOST:PORT, such as 127.0.0.1:50051.\n"
    assert result.stdout == ""


async def test_a_scheduler_that_cannot_serve_exits_with_4(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.failures.append(
        failure("UNAVAILABLE", "No database.", reason="STORE_UNAVAILABLE", retry_after=timedelta(hours=1))
    )

    result = await cli("get", "j")

    assert result.exit_code == 4
    assert result.stderr == f"The scheduler at {scheduler.address} cannot serve now: No database.\n"


async def test_a_silent_scheduler_exits_with_4(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.streams.append([asyncio.Event()])

    result = await cli("--call-timeout", "0.3", "watch", "j")

    assert result.exit_code == 4


async def test_any_other_refusal_exits_with_5(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.failures.append(failure("UNAUTHENTICATED", "A key is needed."))

    result = await cli("get", "j")

    assert result.exit_code == 5
    assert "UNAUTHENTICATED: A key is needed." in result.stderr


async def test_the_key_is_sent_and_never_printed(
    cli: Cli, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_API_KEY", "sekret")
    helped, missed = await cli("--help"), await cli("get", "nobody")
    monkeypatch.setenv("VISIONJOBS_API_KEY", "sek\nret")
    refused = await cli("get", "nobody")

    assert scheduler.metadata[0]["authorization"] == "Bearer sekret"
    assert refused.exit_code == 2
    for result in (helped, missed, refused):
        assert "sek" not in result.output


async def test_an_emulated_answer_says_so_to_people(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = succeeded("j", model="gemini-3.8-flash-emulator")

    got, watched, listed = await cli("get", "j"), await cli("watch", "j"), await cli("list")

    for result in (got, watched):
        assert "This answer is EMULATED: gemini-3.8-flash-emulator made it up" in result.stdout
    assert "EMULATED" in listed.stdout


async def test_what_others_wrote_cannot_command_the_terminal(cli: Cli, scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = job_message("j", "FAILED", error=job_pb2.JobError(kind="X", message="\x1b[31mred\x07"))
    scheduler.jobs["k"] = succeeded("k", '{"a": "\\u001b[31m\u009b2J\u202e"}')

    outputs = [await cli("get", "j"), await cli("list"), await cli("get", "k"), await cli("watch", "j")]

    for result in outputs:
        assert not set(result.stdout) & set("\x1b\x07\x9b\u202e")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("0.5", 0.5), ("2d", 172_800)],
)
def test_durations_are_typed_as_people_write_them(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-31T08:00:00Z", datetime(2030, 1, 31, 8, tzinfo=UTC)),
        ("2030-01-31 08:00+02:00", datetime(2030, 1, 31, 6, tzinfo=UTC)),
        ("2030-01-31T08:00", datetime(2030, 1, 31, 8).astimezone()),
        ("2030-01-31", datetime(2030, 1, 31).astimezone()),
        ("+10m", datetime(2029, 1, 1, 12, 10, tzinfo=UTC)),
        ("-2h", datetime(2029, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_iso_8601_or_count_from_now(text: str, expected: datetime) -> None:
    assert time_from(text, datetime(2029, 1, 1, 12, tzinfo=UTC)) == expected
