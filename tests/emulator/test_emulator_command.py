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
    asked = {"requests_per_minute": 3, "input_tokens_per_minute": 1_000_000, "requests_per_day": 1000}
    assert {name: limit for name, limit in quotas.items() if limit is not None} == asked


def test_a_fault_that_makes_no_sense_is_told() -> None:
    done = subprocess.run(
        [COMMAND, "--port", "0", "--fault", "418=0.1"], capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert "418 is no kind of fault" in done.stderr


async def test_latencies_limits_and_models_of_both_providers_are_options() -> None:
    process = await start(
        *("--port", "0", "--latency", "fixed:0", "--latency", "two=uniform:1,2", "--deepseek-model", "three"),
        *("--spend-usd-per-10-minutes", "0.5", "--deepseek-concurrent-requests", "7"),
    )
    try:
        async with asyncio.timeout(20):
            base_url = f"http://127.0.0.1:{await port_of(process)}"
        async with httpx2.AsyncClient(base_url=base_url) as http:
            latency = (await http.get("/emulator/latency")).json()
            quotas = (await http.get("/emulator/quotas")).json()
            models = (await http.get("/emulator/models")).json()
    finally:
        await end(process)

    assert latency["default"] == {"kind": "fixed", "seconds": 0.0}
    assert latency["models"] == {"two": {"kind": "uniform", "least_seconds": 1.0, "most_seconds": 2.0}}
    assert (quotas["spend_usd_per_10_minutes"], quotas["deepseek_concurrent_requests"]) == (0.5, 7)
    assert models["known"]["deepseek"] == ["three"]


@pytest.mark.parametrize("latency", ["soon", "fixed:-1"])
def test_a_latency_that_makes_no_sense_is_told(latency: str) -> None:
    done = subprocess.run(
        [COMMAND, "--port", "0", "--latency", latency], capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert "is not of the form" in done.stderr


def test_the_help_says_that_it_is_an_emulator() -> None:
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, timeout=20, check=True)

    assert "It is an emulator" in done.stdout
