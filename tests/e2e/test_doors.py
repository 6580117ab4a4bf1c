"""Who may do what, seen from outside: two schedulers with keys."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from key_calls import Doors, KeyHolder, Metadata, bearer, closed, reason
from system_calls import StartStack

from visionjobs.v1 import admin_service_pb2, executor_service_pb2, job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
REVOKED_WITHIN = 5.0

# Who may call what. A service that is not here may be called by nobody, and a new one fails the test below.
ALLOWED = {
    "visionjobs.v1.VisionJobService": {"CLIENT", "ADMIN"},
    "visionjobs.v1.ExecutorService": {"EXECUTOR"},
    "visionjobs.v1.AdminService": {"ADMIN"},
}
OPEN = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.fixture(scope="module")
async def doors(start_stack: StartStack) -> AsyncIterator[Doors]:
    """Two schedulers with keys, and an executor that has one."""
    async with start_stack(schedulers=2, executors=0) as system, closed(system) as made:
        await system.choose_provider()
        executor = await made.key("fleet", "EXECUTOR")
        await system.start_executor(environment={"EXECUTOR_API_KEY": executor.secret})
        yield made


@pytest.fixture(scope="module")
async def alice(doors: Doors) -> KeyHolder:
    return await doors.key("alice")


@pytest.fixture(scope="module")
async def mallory(doors: Doors) -> KeyHolder:
    return await doors.key("mallory")


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def submit(key: KeyHolder, spec: job_pb2.JobSpec) -> job_pb2.Job:
    answer = await key.jobs.SubmitJob(pb.SubmitJobRequest(spec=spec), metadata=key.metadata)
    job: job_pb2.Job = answer.job
    return job


async def finished(key: KeyHolder, job_id: str) -> job_pb2.Job:
    async for change in key.jobs.WatchJob(pb.WatchJobRequest(job_id=job_id), metadata=key.metadata):
        job: job_pb2.Job = change.job
    return job


async def methods(channel: grpc.aio.Channel) -> dict[str, list[str]]:
    """Return the methods of every service that the scheduler says it serves."""
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # stubs know the other kind
    ask = reflection_pb2.ServerReflectionRequest

    async def answers(*questions: reflection_pb2.ServerReflectionRequest) -> list[Any]:
        return [answer async for answer in reflection.ServerReflectionInfo(iter(questions))]

    [listed] = await answers(ask(list_services=""))
    found: dict[str, list[str]] = {}
    for name in [service.name for service in listed.list_services_response.service]:
        [described] = await answers(ask(file_containing_symbol=name))
        for file in described.file_descriptor_response.file_descriptor_proto:
            descriptor = descriptor_pb2.FileDescriptorProto.FromString(file)
            for service in descriptor.service:
                if f"{descriptor.package}.{service.name}" == name:
                    found[name] = [method.name for method in service.method]
    return found


def code_of(channel: grpc.Channel, method: str, metadata: Metadata) -> grpc.StatusCode:
    """Call a method of any shape with an empty message, and return how it ends, or OK if it answers.

    Not by grpc.aio: a write of its that meets the end of its call hides the status.
    """
    multicallable: Any = channel.stream_stream(method)
    call = multicallable(iter([b""]), metadata=metadata, timeout=20)
    try:
        next(call)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    call.cancel()
    return grpc.StatusCode.OK


def answers_to_the_wrong(channel: grpc.Channel, served: dict[str, list[str]], keys: dict[str, KeyHolder]) -> list[str]:
    """Call everything as everybody, and return what was let in, or refused, against the table."""
    wrong = []
    for method, roles in [
        (f"/{service}/{name}", roles) for service, roles in ALLOWED.items() for name in served[service]
    ]:
        expected = {(): UNAUTHENTICATED, bearer("vj_0_0"): UNAUTHENTICATED}
        found = {metadata: code_of(channel, method, metadata) for metadata in expected}
        wrong += [
            f"{method} without a key: {code}" for metadata, code in found.items() if code is not expected[metadata]
        ]
        for role, key in keys.items():
            code = code_of(channel, method, key.metadata)
            is_let_in = code not in (UNAUTHENTICATED, DENIED, grpc.StatusCode.UNIMPLEMENTED)
            if is_let_in is not (role in roles) or (not is_let_in and code is not DENIED):
                wrong.append(f"{method} as {role}: {code}")
    return wrong


async def test_no_call_answers_a_caller_without_the_right_role(doors: Doors) -> None:
    channel = await doors.channel()
    keys = {role: await doors.key("visitor", role) for role in ("CLIENT", "EXECUTOR", "ADMIN")}
    served = await methods(channel)

    assert set(served) == set(ALLOWED) | OPEN, "a new service must say here who may call it"
    with grpc.insecure_channel(doors.system.address) as calls:
        assert await asyncio.to_thread(answers_to_the_wrong, calls, served, keys) == []
    # An empty SetAccepting was among them.
    await doors.admin.operators.SetAccepting(
        admin_service_pb2.SetAcceptingRequest(accepting=True), metadata=doors.admin.metadata
    )


async def test_the_whole_path_works_with_keys(doors: Doors, alice: KeyHolder, spec: job_pb2.JobSpec) -> None:
    job = await submit(alice, spec)

    done = await finished(alice, job.job_id)

    assert (done.state, done.client_id) == (job_pb2.JOB_STATE_SUCCEEDED, "alice")


async def test_what_is_one_clients_is_not_found_by_another(
    doors: Doors, alice: KeyHolder, mallory: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    job = await submit(alice, spec)
    await finished(alice, job.job_id)
    job_id, metadata = job.job_id, mallory.metadata

    assert await refused(mallory.jobs.GetJob(pb.GetJobRequest(job_id=job_id), metadata=metadata)) == (
        NOT_FOUND,
        "JOB_NOT_FOUND",
    )
    for call in (
        mallory.jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=[job_id]), metadata=metadata),
        mallory.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id), metadata=metadata),
        mallory.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id), metadata=metadata),
        mallory.jobs.CreateJobLink(pb.CreateJobLinkRequest(job_id=job_id), metadata=metadata),
        mallory.jobs.WatchJob(pb.WatchJobRequest(job_id=job_id), metadata=metadata).read(),
        mallory.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=[job_id]), metadata=metadata).read(),
    ):
        assert (await refused(call))[0] is NOT_FOUND
    listed = await mallory.jobs.ListJobs(pb.ListJobsRequest(user_id="e2e"), metadata=metadata)
    assert not listed.jobs
    cancelled = await mallory.jobs.CancelJobs(
        pb.CancelJobsRequest(filter=pb.JobFilter(user_id="e2e")), metadata=metadata
    )
    assert cancelled.count == 0


async def test_a_clients_images_and_results_are_its_own(
    doors: Doors, alice: KeyHolder, mallory: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    shared = job_pb2.JobSpec()
    shared.CopyFrom(spec)
    shared.cache = job_pb2.CACHE_POLICY_USE
    shared.prompt = "Whose is this?"
    first = await submit(alice, shared)
    await finished(alice, first.job_id)
    again = await submit(alice, shared)
    assert again.state == job_pb2.JOB_STATE_SUCCEEDED

    theirs = await submit(mallory, shared)
    assert theirs.state != job_pb2.JOB_STATE_SUCCEEDED
    assert not (await finished(mallory, theirs.job_id)).result.cached

    named = job_pb2.JobSpec()
    named.CopyFrom(spec)
    named.images[0].CopyFrom(job_pb2.Image(sha256=first.spec.images[0].sha256))
    stranger = await doors.key("stranger")
    assert (await refused(stranger.jobs.SubmitJob(pb.SubmitJobRequest(spec=named), metadata=stranger.metadata)))[0] is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_a_request_id_is_the_clients_own(
    doors: Doors, alice: KeyHolder, mallory: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    request = pb.SubmitJobRequest(spec=spec, request_id="the same")

    hers = await alice.jobs.SubmitJob(request, metadata=alice.metadata)
    his = await mallory.jobs.SubmitJob(request, metadata=mallory.metadata)

    assert hers.job.job_id != his.job.job_id


async def test_a_revoked_key_ends_on_every_scheduler_within_five_seconds(
    doors: Doors, alice: KeyHolder, spec: job_pb2.JobSpec
) -> None:
    other = doors.system.schedulers[1].address
    key = await doors.key("alice", address=other)
    later = job_pb2.JobSpec()
    later.CopyFrom(spec)
    later.schedule_time.GetCurrentTime()
    later.schedule_time.seconds += 3600
    job = await submit(alice, later)
    await works(lambda: key.jobs.GetJob(pb.GetJobRequest(job_id=job.job_id), metadata=key.metadata))
    watch = key.jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=key.metadata)
    await watch.read()

    await doors.revoke(key)
    async with asyncio.timeout(REVOKED_WITHIN):
        assert await refused(watch.read()) == (UNAUTHENTICATED, "KEY_INVALID")

    assert await refused(key.jobs.GetJob(pb.GetJobRequest(job_id=job.job_id), metadata=key.metadata)) == (
        UNAUTHENTICATED,
        "KEY_INVALID",
    )
    await alice.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=alice.metadata)


async def works(call: Callable[[], Any]) -> None:
    """Wait until a key that another scheduler made is known: a call with it works."""
    async with asyncio.timeout(REVOKED_WITHIN):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not UNAUTHENTICATED:
                    raise
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_revoked_executor_is_cut_off(doors: Doors) -> None:
    key = await doors.key("spare", "EXECUTOR")
    work = key.executors.Work(metadata=key.metadata)
    await work.write(hello("spare-1"))
    assert (await work.read()).HasField("welcome")

    await doors.revoke(key)

    async with asyncio.timeout(REVOKED_WITHIN):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                await work.read()
    assert reason(caught.value) == (UNAUTHENTICATED, "KEY_INVALID")
    assert not any(b"Traceback" in program.log.read_bytes() for program in doors.system.programs)


def hello(executor_id: str) -> executor_service_pb2.WorkRequest:
    return executor_service_pb2.WorkRequest(
        hello=executor_service_pb2.Hello(executor_id=executor_id, capacity=1, lanes=["nobody/*"])
    )


async def test_an_executor_id_cannot_be_taken_by_another_clients_key(doors: Doors) -> None:
    owner, thief = await doors.key("owner", "EXECUTOR"), await doors.key("thief", "EXECUTOR")
    mine = owner.executors.Work(metadata=owner.metadata)
    await mine.write(hello("taken"))
    await mine.read()

    theirs = thief.executors.Work(metadata=thief.metadata)
    await theirs.write(hello("taken"))

    assert await refused(theirs.read()) == (DENIED, "EXECUTOR_NOT_YOURS")
    mine.cancel()


async def test_a_rotated_key_works_with_both_secrets_for_a_while(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("rotating")
    request = admin_service_pb2.RotateKeyRequest(key_id=key.key_id)
    rotated = await doors.admin.operators.RotateKey(request, metadata=doors.admin.metadata)
    assert rotated.secret != key.secret

    listing = pb.ListJobsRequest()
    assert await key.jobs.ListJobs(listing, metadata=key.metadata) is not None
    assert await key.jobs.ListJobs(listing, metadata=bearer(rotated.secret)) is not None

    request.overlap.seconds = 0
    request.overlap.nanos = 0
    request.overlap.SetInParent()
    newest = await doors.admin.operators.RotateKey(request, metadata=doors.admin.metadata)
    for old in (key.secret, rotated.secret):
        assert await refused(key.jobs.ListJobs(listing, metadata=bearer(old))) == (UNAUTHENTICATED, "KEY_INVALID")
    assert await key.jobs.ListJobs(listing, metadata=bearer(newest.secret)) is not None


async def test_a_key_cannot_ask_for_more_than_its_priority(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("humble", max_priority=3)
    urgent, plain = job_pb2.JobSpec(), job_pb2.JobSpec()
    urgent.CopyFrom(spec)
    urgent.priority = 2
    plain.CopyFrom(spec)

    assert await refused(key.jobs.SubmitJob(pb.SubmitJobRequest(spec=urgent), metadata=key.metadata)) == (
        DENIED,
        "PRIORITY_NOT_ALLOWED",
    )
    assert (await submit(key, plain)).spec.priority == 3


async def test_the_last_admin_key_stays(doors: Doors) -> None:
    listed = await doors.admin.operators.ListKeys(admin_service_pb2.ListKeysRequest(), metadata=doors.admin.metadata)
    others = [
        key
        for key in listed.keys
        if key.role == admin_service_pb2.ROLE_ADMIN
        and key.key_id != doors.admin.key_id
        and not key.HasField("revoke_time")
    ]
    for key in others:
        request = admin_service_pb2.RevokeKeyRequest(key_id=key.key_id)
        await doors.admin.operators.RevokeKey(request, metadata=doors.admin.metadata)

    request = admin_service_pb2.RevokeKeyRequest(key_id=doors.admin.key_id)
    assert await refused(doors.admin.operators.RevokeKey(request, metadata=doors.admin.metadata)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "LAST_ADMIN_KEY",
    )


async def test_changes_are_on_record_with_who_what_and_when(doors: Doors) -> None:
    request = admin_service_pb2.PauseLaneRequest(lane="gemini/none")
    await refused(doors.admin.operators.PauseLane(request, metadata=doors.admin.metadata))

    answer = await doors.admin.operators.ListAuditEntries(
        admin_service_pb2.ListAuditEntriesRequest(page_size=1), metadata=doors.admin.metadata
    )

    [entry] = answer.entries
    assert (entry.key_id, entry.client_id, entry.outcome) == (doors.admin.key_id, "ops", "NOT_FOUND")
    assert (entry.method, entry.request_json) == (
        "visionjobs.v1.AdminService/PauseLane",
        '{"lane": "gemini/none"}',
    )
    assert entry.HasField("create_time")
    assert answer.next_page_token


async def test_no_key_stands_in_a_log_an_error_or_a_process_list(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("quiet")
    await finished(key, (await submit(key, spec)).job_id)
    bad = key.secret[:-1] + ("0" if key.secret[-1] != "0" else "1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await key.jobs.ListJobs(pb.ListJobsRequest(), metadata=bearer(bad))
    assert bad not in repr(caught.value)
    assert bad not in str(caught.value.trailing_metadata())
    await doors.revoke(key)

    secrets = [holder.secret.rpartition("_")[2] for holder in (key, doors.admin)] + [bad.rpartition("_")[2]]
    texts = [program.log.read_bytes() for program in doors.system.programs]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end meanwhile.
        with contextlib.suppress(OSError):
            texts.append(command.read_bytes())
    for secret in secrets:
        assert not any(secret.encode() in text for text in texts)
