"""The command line as a process, where signals, pipes and the terminal matter."""

import asyncio
import itertools
import os
import pty
import signal
from pathlib import Path

import pytest
from command_line import PROGRAM, at_a_terminal, everything, without_style
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler, serve

from devkit.certificates import Authority
from visionjobs.v1 import job_pb2

# A shell that runs the tests in the background lets them, and so the command, ignore SIGINT.
_HEARS_CTRL_C = ("env", "--default-signal=INT")


async def test_ctrl_c_ends_the_watch_with_130_and_says_how_to_go_on(scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("j"), asyncio.Event()])
    process = await asyncio.create_subprocess_exec(
        *_HEARS_CTRL_C,
        *(PROGRAM, "--address", scheduler.address, "watch", "j"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"j\tQUEUED\n"

    process.send_signal(signal.SIGINT)
    _, stderr = await process.communicate()

    assert process.returncode == 130
    assert stderr.decode() == "What is submitted goes on. Follow it again with: visionjobs watch j\n"


async def test_a_watch_through_a_restart_goes_on_and_says_only_that_it_tries_again() -> None:
    fake = FakeScheduler()
    go_away = asyncio.Event()
    fake.streams.extend(
        [[job_message("j"), go_away, failure("UNAVAILABLE", "Stopping.", reason="STOPPING")], [succeeded("j")]]
    )
    first = await serve(fake)
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--address", fake.address, "watch", "j"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert await process.stdout.readline() == b"j\tQUEUED\n"

    stopped = asyncio.create_task(first.stop(10))
    go_away.set()
    notice = await process.stderr.readline()
    await stopped
    second = await serve(fake, fake.address)
    stdout, stderr = await process.communicate()
    await second.stop(None)

    assert process.returncode == 0
    assert stdout.startswith(b"j\tSUCCEEDED")
    assert notice == b"The scheduler cannot serve now; trying again for up to 30 s.\n"
    assert stderr in {b"", b"The scheduler cannot be reached; trying again for up to 30 s.\n"}


async def test_of_a_failed_handshake_only_the_commands_own_words_are_shown(
    scheduler: FakeScheduler, tmp_path: Path
) -> None:
    ca_file = Authority(tmp_path).file
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--address", scheduler.address, "--tls-ca-file", ca_file, "--call-timeout", "1s", "lanes"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()

    assert process.returncode == 4
    assert [line.partition(";")[0].partition(":")[0] for line in stderr.decode().splitlines()] == [
        "The scheduler cannot be reached",
        f"The scheduler at {scheduler.address.partition(':')[0]}",
    ]


async def test_a_reader_that_goes_away_ends_the_program_quietly(scheduler: FakeScheduler) -> None:
    go_on = asyncio.Event()
    scheduler.streams.append([job_message("j"), go_on, succeeded("j")])
    ours, theirs = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--address", scheduler.address, "watch", "j"), stdout=theirs, stderr=asyncio.subprocess.PIPE
    )
    os.close(theirs)
    assert await asyncio.to_thread(os.read, ours, 100) == b"j\tQUEUED\n"

    os.close(ours)
    go_on.set()
    _, stderr = await process.communicate()

    assert (process.returncode, stderr) == (141, b"")


async def test_a_person_at_a_terminal_sees_the_result_in_colour(scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("j"), job_message("j", "RUNNING"), succeeded("j", model="emulator")])
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "CI"}}
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--address", scheduler.address, "watch", "j"),
        stdin=theirs,
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = await asyncio.to_thread(everything, ours)

    assert await process.wait() == 0
    assert "\x1b[32m✓ " in shown
    assert '"total"' in shown
    assert "This answer is EMULATED" in shown


@pytest.mark.parametrize("columns", [80, 150])
async def test_a_person_sees_why_a_job_waits_in_a_terminal_of_any_width(scheduler: FakeScheduler, columns: int) -> None:
    job_id = "0193a1b2-7c00-7000-8000-000000000001"
    wait = job_pb2.Wait(reason=job_pb2.WAIT_REASON_QUOTA, message="The limits of the lane are used up for now.")
    scheduler.jobs[job_id] = job_message(job_id, wait=wait, spec=job_pb2.JobSpec(user_id="u"))

    async with at_a_terminal(scheduler, "list", columns=columns) as (terminal, _):
        shown = without_style(await asyncio.to_thread(everything, terminal))

    header, *rows = (line.split() for line in shown.splitlines())
    assert header == ["Job", "State", "Created", "User"]
    assert list(itertools.chain(*rows)) == [job_id, "QUEUED", "u", "quota:", *wait.message.split()]
    assert len(rows) == (2 if columns == 80 else 1)


async def test_an_empty_list_says_so_at_a_terminal(scheduler: FakeScheduler) -> None:
    async with at_a_terminal(scheduler, "list") as (terminal, _):
        assert without_style(await asyncio.to_thread(everything, terminal)).strip() == "No jobs."
