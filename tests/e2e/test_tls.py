"""Every program behind mutual TLS."""

import asyncio
import contextlib
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from fleet_calls import PATIENCE_SECONDS, connected_to
from system_calls import StartStack

from devkit.certificates import Authority, CertificateFiles
from devkit.programs import logged, program
from devkit.stack import MutualTls, Stack, clean_environment
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

HOSTS = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> MutualTls:
    return MutualTls(
        authority=authority.file,
        scheduler=authority.issue("scheduler", *HOSTS),
        executor=authority.issue("executor", *HOSTS),
    )


@pytest.fixture(scope="module")
async def system(start_stack: StartStack, tls: MutualTls) -> AsyncIterator[Stack]:
    async with start_stack(executors=1, tls=tls) as running:
        await connected_to(running.executors[0])
        yield running


@pytest.fixture
def own(authority: Authority) -> CertificateFiles:
    return authority.issue("client")


@contextlib.asynccontextmanager
async def jobs_at(system: Stack, trusted: Path, own: CertificateFiles | None = None) -> AsyncIterator[Any]:
    credentials = grpc.ssl_channel_credentials(
        root_certificates=trusted.read_bytes(),
        private_key=own.key.read_bytes() if own else None,
        certificate_chain=own.certificate.read_bytes() if own else None,
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(system.address, credentials, options=options) as channel:
        yield vision_job_service_pb2_grpc.VisionJobServiceStub(channel)


async def state_of_a_job(jobs: Any, spec: job_pb2.JobSpec) -> str:
    submitted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec), timeout=PATIENCE_SECONDS)).job
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for update in jobs.WatchJob(pb.WatchJobRequest(job_id=submitted.job_id)):
            if update.job.state in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
                return job_pb2.JobState.Name(update.job.state)
    raise AssertionError("The watch ended before the job.")


async def test_a_job_goes_through_a_system_that_speaks_tls_everywhere(
    system: Stack, authority: Authority, own: CertificateFiles, spec: job_pb2.JobSpec
) -> None:
    async with jobs_at(system, authority.file, own) as jobs:
        assert await state_of_a_job(jobs, spec) == "JOB_STATE_SUCCEEDED"


async def test_whoever_has_no_certificate_of_the_authority_is_not_let_in(
    system: Stack, authority: Authority, other_authority: Authority
) -> None:
    for stranger in (None, other_authority.issue("stranger")):
        async with jobs_at(system, authority.file, stranger) as jobs:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await jobs.GetJob(pb.GetJobRequest(job_id="any"), timeout=PATIENCE_SECONDS)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    async with grpc.aio.insecure_channel(system.address) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await vision_job_service_pb2_grpc.VisionJobServiceStub(plain).GetJob(pb.GetJobRequest(job_id="any"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_each_program_warns_of_a_certificate_that_is_near_its_end(system: Stack, authority: Authority) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    files = authority.issue("soon", *HOSTS, expire_time=soon)
    scheduler = await system.start_scheduler(environment=own_files("SCHEDULER", files))
    executor = await system.start_executor(environment=own_files("EXECUTOR", files))
    try:
        assert await scheduler.ready(logged("certificate_expires_soon", "role")) == "server"
        assert await executor.ready(logged("certificate_expires_soon", "role")) == "client"
    finally:
        await executor.stop()
        await scheduler.stop()


def own_files(program: str, files: CertificateFiles) -> dict[str, str]:
    return {f"{program}_TLS_CERTIFICATE_FILE": str(files.certificate), f"{program}_TLS_KEY_FILE": str(files.key)}


async def test_an_executor_that_trusts_another_authority_says_so_once(
    system: Stack, other_authority: Authority
) -> None:
    executor = await system.start_executor(environment={"EXECUTOR_TLS_CA_FILE": str(other_authority.file)})
    try:
        reason = await executor.ready(logged("scheduler_refused", "reason"))
        detail = await executor.ready(logged("scheduler_refused", "detail"))
    finally:
        await executor.stop()

    assert reason == "TLS_DISTRUST"
    assert "not signed by a trusted authority" in detail
    lines = [json.loads(line) for line in executor.log.read_text().splitlines() if line.startswith("{")]
    assert len([line for line in lines if line["level"] == "error"]) == 1
    assert not [line for line in lines if line["event"] == "scheduler_connected"]


async def test_the_http_port_speaks_tls_too(system: Stack, authority: Authority) -> None:
    assert system.scheduler is not None
    address = await system.scheduler.ready(logged("scheduler_started", "http_address"))
    context = ssl.create_default_context(cafile=authority.file)

    async with httpx2.AsyncClient(verify=context) as http:
        assert (await http.get(f"https://{address}/livez")).status_code == 200
        with pytest.raises(httpx2.TransportError):
            await http.get(f"http://{address}/livez")


@pytest.mark.parametrize("service", ["scheduler", "executor"])
async def test_health_checks_need_the_programs_own_settings_alone(
    system: Stack, tls: MutualTls, tmp_path: Path, service: str
) -> None:
    if service == "scheduler":
        address = {"SCHEDULER_GRPC_ADDRESS": system.address, "SCHEDULER_DATABASE_URL": system.database_url}
    else:
        bound = await system.executors[0].ready(logged("executor_started", "health_address"))
        address = {"EXECUTOR_HEALTH_ADDRESS": bound}
    for environment, status in ((address | tls.environment, 0), (address, 1)):
        async with program(
            f"visionjobs-{service}",
            "healthcheck",
            environment=clean_environment() | environment,
            log=tmp_path / "health.log",
        ) as check:
            assert await check.wait() == status, (tmp_path / "health.log").read_text()


async def test_a_certificate_that_is_replaced_on_disk_is_served_by_the_running_system(
    system: Stack, tls: MutualTls, authority: Authority, other_authority: Authority, spec: job_pb2.JobSpec
) -> None:
    own = authority.issue("client")
    old = authority.issue("old", *HOSTS)
    async with jobs_at(system, authority.file, own) as before:
        tls.scheduler.replace_by(other_authority.issue("new", *HOSTS))
        try:
            async with jobs_at(system, other_authority.file, own) as after:
                assert await state_of_a_job(after, spec) == "JOB_STATE_SUCCEEDED"
        finally:
            tls.scheduler.replace_by(old)
        # A connection that was there before goes on.
        assert await state_of_a_job(before, spec) == "JOB_STATE_SUCCEEDED"
    async with jobs_at(system, authority.file, own) as again:
        assert await state_of_a_job(again, spec) == "JOB_STATE_SUCCEEDED"
