"""Clients that know nothing but the address: buf (Go) and grpc-js (Node)."""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from system_calls import SCHEMA

from devkit.stack import Stack

BUF = Path(sys.executable).parent / "buf"
NODE_CLIENT = Path(__file__).parent / "node"
SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "visionjobs.v1.AdminService",
    "visionjobs.v1.ExecutorService",
    "visionjobs.v1.VisionJobService",
}


async def buf_curl(
    system: Stack, method: str, *arguments: str, data: object = None
) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
    if data is not None:
        command += ["-d", "@-"]
    return await asyncio.to_thread(
        subprocess.run,
        [*command, f"http://{system.address}{method}"],
        input=json.dumps(data) if data is not None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def submission(photograph: bytes) -> dict[str, object]:
    return {
        "spec": {
            "user_id": "buf",
            "images": [{"data": base64.b64encode(photograph).decode()}],
            "prompt": "What is this?",
            "response_schema_json": SCHEMA,
        }
    }


async def test_buf_lists_every_method(system: Stack) -> None:
    listed = await buf_curl(system, "", "--list-methods")

    assert listed.returncode == 0, listed.stderr
    assert {method.rpartition("/")[0] for method in listed.stdout.split()} == SERVICES


async def test_buf_submits_and_watches_a_job(system: Stack, photograph: bytes) -> None:
    submitted = await buf_curl(system, "/visionjobs.v1.VisionJobService/SubmitJob", data=submission(photograph))
    assert submitted.returncode == 0, submitted.stderr
    job_id = json.loads(submitted.stdout)["job"]["jobId"]

    watched = await buf_curl(system, "/visionjobs.v1.VisionJobService/WatchJob", data={"job_id": job_id})

    assert watched.returncode == 0, watched.stderr
    decoder, text, states = json.JSONDecoder(), watched.stdout.strip(), []
    while text:
        change, end = decoder.raw_decode(text)
        states.append(change["job"]["state"])
        text = text[end:].strip()
    assert states[-1] == "JOB_STATE_SUCCEEDED"


async def test_buf_sees_the_details_of_an_error(system: Stack) -> None:
    refused = await buf_curl(system, "/visionjobs.v1.VisionJobService/GetJob", data={"job_id": "42"})

    # buf exits with eight times the canonical code; 3 is INVALID_ARGUMENT.
    assert refused.returncode == 8 * 3
    assert "job_id" in refused.stderr


async def test_buf_checks_the_health_of_every_service(system: Stack) -> None:
    for service in ("", "visionjobs.v1.VisionJobService", "visionjobs.v1.ExecutorService"):
        answer = await buf_curl(system, "/grpc.health.v1.Health/Check", data={"service": service})

        assert json.loads(answer.stdout) == {"status": "SERVING"}, answer.stderr


@pytest.mark.skipif(not shutil.which("npm"), reason="Node is not installed")
async def test_node_lists_submits_watches_and_sees_errors_by_reflection(system: Stack, photograph: bytes) -> None:
    if not (NODE_CLIENT / "node_modules").exists():
        await asyncio.to_thread(
            subprocess.run,
            ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
            cwd=NODE_CLIENT,
            check=True,
            timeout=90,
        )

    ran = await asyncio.to_thread(
        subprocess.run,
        ["node", "client.js", system.address],
        cwd=NODE_CLIENT,
        input=json.dumps(submission(photograph)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert set(seen["services"]) == SERVICES
    assert seen["states"][-1] == "JOB_STATE_SUCCEEDED"
    assert seen["error_code"] == 3
    assert seen["health"] == "SERVING"
