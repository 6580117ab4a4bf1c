"""A job on the HTTP port, for keys and for links, over the real processes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx2
import pytest
from google.protobuf import duration_pb2
from key_calls import Doors, KeyHolder, closed, reason
from system_calls import StartStack, bad_paths

from devkit.programs import Program, logged
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

PUBLIC_URL = "https://jobs.example/vision"
PROMPT = "A prompt that no link may show"


async def http_port(scheduler: Program) -> httpx2.AsyncClient:
    address = await scheduler.ready(logged("scheduler_started", "http_address"))
    return httpx2.AsyncClient(base_url=f"http://{address}")


@pytest.fixture(scope="module")
async def doors(start_stack: StartStack) -> AsyncIterator[Doors]:
    """Two schedulers with keys, an executor, and a public URL."""
    environment = {"SCHEDULER_PUBLIC_URL": f"{PUBLIC_URL}/", "SCHEDULER_LOG_LEVEL": "DEBUG"}
    async with start_stack(schedulers=2, executors=0, environment=environment) as system, closed(system) as made:
        await system.choose_provider()
        executor = await made.key("fleet", "EXECUTOR")
        await system.start_executor(environment={"EXECUTOR_API_KEY": executor.secret})
        yield made


@pytest.fixture(scope="module")
async def ports(doors: Doors) -> AsyncIterator[list[httpx2.AsyncClient]]:
    clients = [await http_port(scheduler) for scheduler in doors.system.schedulers]
    yield clients
    for client in clients:
        await client.aclose()


@pytest.fixture(scope="module")
async def alice(doors: Doors) -> KeyHolder:
    return await doors.key("alice")


async def finished(alice: KeyHolder, spec: job_pb2.JobSpec) -> str:
    """Return the id of a job that has ended."""
    spec.prompt = PROMPT
    accepted = (await alice.jobs.SubmitJob(pb.SubmitJobRequest(spec=spec), metadata=alice.metadata)).job
    watch = alice.jobs.WatchJob(pb.WatchJobRequest(job_id=accepted.job_id), metadata=alice.metadata)
    async with asyncio.timeout(30):
        async for change in watch:
            last = change.job
    assert last.state == job_pb2.JOB_STATE_SUCCEEDED
    return str(last.job_id)


async def link(holder: KeyHolder, job_id: str, **fields: Any) -> pb.CreateJobLinkResponse:
    request = pb.CreateJobLinkRequest(job_id=job_id, **fields)
    answer: pb.CreateJobLinkResponse = await holder.jobs.CreateJobLink(request, metadata=holder.metadata)
    return answer


async def test_a_job_is_shown_to_its_clients_keys_and_links_only(
    doors: Doors, ports: list[httpx2.AsyncClient], alice: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    job_id = await finished(alice, spec)
    mallory = await doors.key("mallory")
    path = f"/jobs/{job_id}"
    keys = {holder.key_id: {"authorization": f"Bearer {holder.secret}"} for holder in (alice, mallory)}

    async def mallory_is_known() -> None:
        while (await ports[1].get(path, headers=keys[mallory.key_id])).status_code != 404:
            await asyncio.sleep(0.05)

    async with asyncio.timeout(5):
        await mallory_is_known()
    for port in ports:
        assert (await port.get(path)).status_code == 401
        seen = await port.get(path, headers=keys[alice.key_id])
        assert (seen.status_code, seen.json()["spec"]["prompt"]) == (200, PROMPT)
        assert (await port.get(path, headers=keys[mallory.key_id])).status_code == 404


async def test_a_link_works_on_every_scheduler_and_shows_no_prompt(
    doors: Doors, ports: list[httpx2.AsyncClient], alice: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    job_id = await finished(alice, spec)
    made = await link(alice, job_id)
    assert made.url.startswith(f"{PUBLIC_URL}/jobs/{job_id}?link=")
    path = made.url.removeprefix(PUBLIC_URL)

    for port in ports:
        job = (await port.get(path)).json()
        page = await port.get(path, headers={"accept": "text/html"})
        forged = await port.get(f"{path}A")

        assert job["state"] == "JOB_STATE_SUCCEEDED"
        assert [attempt["outcome"] for attempt in job["attempts"]] == ["SUCCEEDED"]
        assert "SUCCEEDED" in page.text
        assert PROMPT not in page.text
        assert "prompt" not in job["spec"]
        assert (forged.status_code, forged.json()["error"]["reason"]) == (403, "LINK_INVALID")
        assert 'visionjobs_calls_denied_total{reason="LINK_INVALID"} 1.0' in (await port.get("/metrics")).text
    for scheduler in doors.system.schedulers:
        log = scheduler.log.read_text()
        assert path.partition("=")[2] not in log
        assert alice.secret not in log


async def test_a_link_expires(ports: list[httpx2.AsyncClient], alice: KeyHolder, spec: job_pb2.JobSpec) -> None:
    made = await link(alice, await finished(alice, spec), lifetime=duration_pb2.Duration(seconds=1))
    path = made.url.removeprefix(PUBLIC_URL)

    async with asyncio.timeout(5):
        while (answer := await ports[0].get(path)).status_code == 200:
            await asyncio.sleep(0.05)

    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "LINK_EXPIRED")


async def test_nobody_gets_a_link_to_another_clients_job(doors: Doors, alice: KeyHolder, spec: job_pb2.JobSpec) -> None:
    job_id = await finished(alice, spec)
    mallory = await doors.key("mallory")

    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await link(mallory, job_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await link(alice, job_id, lifetime=duration_pb2.Duration(seconds=31 * 86_400))

    assert reason(denied.value) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert bad_paths(refused.value) == ["lifetime"]
