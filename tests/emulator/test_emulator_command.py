"""The installed command `visionjobs-gemini-emulator`."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

COMMAND = Path(sys.executable).parent / "visionjobs-gemini-emulator"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"gemini emulator listening on http://127\.0\.0\.1:(\d+)\n", line)
    assert found, line
    return int(found[1])


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_answers_and_ends_in_order(body: dict[str, Any], number: signal.Signals) -> None:
    process = await start("--port", "0", "--latency-ms", "0", "--model", "one", "--model", "two")
    try:
        async with asyncio.timeout(20):
            base_url = f"http://127.0.0.1:{await port_of(process)}"
        async with httpx2.AsyncClient(base_url=base_url, headers={"x-goog-api-key": "test"}) as http:
            known = await http.post("/v1/models/two:generateContent", json=body)
            unknown = await http.post("/v1/models/gemini-3.8-flash:generateContent", json=body)

            # Also while a connection is open.
            process.send_signal(number)
            async with asyncio.timeout(20):
                rest, complaints = await process.communicate()
    finally:
        await end(process)

    assert (known.status_code, unknown.status_code) == (200, 404)
    assert known.json()["modelVersion"] == "two-emulator"
    assert (process.returncode, rest, complaints) == (0, b"", b"")


async def test_it_ends_at_once_although_a_caller_waits(body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    process = await start("--port", "0", "--latency-ms", "600000")
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", await port_of(process))
            writer.write(
                b"POST /v1/models/gemini-3.8-flash:generateContent HTTP/1.1\r\nHost: emulator\r\nx-goog-api-key: k\r\n"
                b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(content)
            )
            # The server says so when it has begun to work on the call.
            assert b"100" in await reader.readuntil(b"\r\n\r\n")
            writer.write(content)

            process.send_signal(signal.SIGTERM)
            answer = await reader.read()
            _, complaints = await process.communicate()
            writer.close()
    finally:
        await end(process)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (process.returncode, complaints) == (0, b"")


def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(f"The emulator cannot listen on 127.0.0.1:{port}: Address already in use")
    assert done.stderr.count("\n") == 1


async def test_rates_and_quotas_are_options(body: dict[str, Any]) -> None:
    process = await start(
        *("--port", "0", "--latency-ms", "0", "--requests-per-minute", "3", "--input-tokens-per-minute", "1000000"),
        *("--requests-per-day", "1000", "--fault", "503=1", "--fault", "500=0.5", "--seed", "7"),
    )
    try:
        async with asyncio.timeout(20):
            base_url = f"http://127.0.0.1:{await port_of(process)}"
        async with httpx2.AsyncClient(base_url=base_url, headers={"x-goog-api-key": "test"}) as http:
            answers = [await http.post("/v1/models/gemini-3.8-flash:generateContent", json=body) for _ in range(4)]
            quotas = (await http.get("/emulator/quotas")).json()
    finally:
        await end(process)

    assert [answer.status_code for answer in answers] == [503, 503, 503, 429]
    assert quotas == {"requests_per_minute": 3, "input_tokens_per_minute": 1_000_000, "requests_per_day": 1000}


def test_a_fault_that_makes_no_sense_is_told() -> None:
    done = subprocess.run(
        [COMMAND, "--port", "0", "--fault", "418=0.1"], capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert "418 is no kind of fault" in done.stderr
