"""The door of the gRPC port, on a real server with made-up services behind it."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import contextlib
import datetime
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.serving import GrpcServer
from runtime.slow_readers import SlowReaders
from scheduler.admission import Arrival
from scheduler.callers import ANONYMOUS, UNLIMITED, Caller, ReflectionAccess, Role
from scheduler.errors import LaneNotFound, Overloaded, TooManyCalls
from scheduler.keyring import Keyring
from scheduler.keys import hashed, new_key
from scheduler.memory_store import MemoryStore
from scheduler.rpc.access import ADMIN, EXECUTORS, VISION_JOBS
from scheduler.rpc.audit import Audit
from scheduler.rpc.errors import translate
from scheduler.rpc.gate import Gate, caller
from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    executor_service_pb2,
    executor_service_pb2_grpc,
    job_pb2,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

Metadata = tuple[tuple[str, str], ...]


class Jobs(vision_job_service_pb2_grpc.VisionJobServiceServicer):
    """Answers with who called; its watches send one message, and then wait."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.sent = 0

    async def GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return vision_job_service_pb2.GetJobResponse(
            job=job_pb2.Job(job_id=request.job_id, client_id=caller().client_id)
        )

    async def SubmitJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        return vision_job_service_pb2.SubmitJobResponse()

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        try:
            while request.job_id == "endless":
                self.sent += 1
                yield vision_job_service_pb2.WatchJobResponse(job=job_pb2.Job(client_id="x" * 1_000_000))
            yield vision_job_service_pb2.WatchJobResponse(job=job_pb2.Job(client_id=caller().client_id))
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def UploadImage(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:  # noqa: N802
        try:
            async for _ in request_iterator:
                self.began.set()
        finally:
            self.ended.set()
        return vision_job_service_pb2.UploadImageResponse()


class Executors(executor_service_pb2_grpc.ExecutorServiceServicer):
    async def Work(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for _ in request_iterator:
            yield executor_service_pb2.WorkResponse(welcome=executor_service_pb2.Welcome(session=1))


class Operators(admin_service_pb2_grpc.AdminServiceServicer):
    async def ListLanes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return admin_service_pb2.ListLanesResponse()

    async def PauseLane(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.lane == "none":
            raise LaneNotFound(request.lane)
        return admin_service_pb2.PauseLaneResponse()


class Room:
    """Stands for both limits: of open calls, and of submissions."""

    def __init__(self) -> None:
        self.inside: list[tuple[str, str]] = []
        self.entered = asyncio.Event()
        self.is_full = False
        self.is_overloaded = False

    @contextlib.contextmanager
    def counted(self, client_id: str, kind: str) -> Iterator[None]:
        if self.is_full:
            raise TooManyCalls(kind, 1)
        self.inside.append((client_id, kind))
        self.entered.set()
        try:
            yield
        finally:
            self.inside.remove((client_id, kind))

    @contextlib.asynccontextmanager
    async def place(self, arrival: Arrival, *, is_upload: bool, client_id: str | None) -> AsyncIterator[None]:
        if self.is_overloaded:
            raise Overloaded("the test says so", datetime.timedelta(seconds=1))
        yield


class Door:
    """A server, what is behind its door, and a channel to it."""

    def __init__(
        self, keyring: Keyring, store: MemoryStore, channel: grpc.aio.Channel, behind: Jobs, room: Room
    ) -> None:
        self.keyring = keyring
        self.store = store
        self.behind = behind
        self.room = room
        self.denied: list[str] = []
        self.channel = channel
        self.jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        self.executors: Any = executor_service_pb2_grpc.ExecutorServiceStub(channel)
        self.operators: Any = admin_service_pb2_grpc.AdminServiceStub(channel)

    async def key(self, role: Role, client_id: str = "backend") -> tuple[str, Metadata]:
        """Return a new key's id, and the metadata that carries it."""
        key, secret = new_key(client_id, role, UNLIMITED, now=self.store.time.now(), randomness=SystemRandomness())
        await self.store.add_key(key)
        await self.keyring.refresh()
        return key.key.key_id, bearer(secret)

    async def revoke(self, key_id: str) -> None:
        await self.store.revoke_key(key_id)
        await self.keyring.refresh()


def bearer(secret: str) -> Metadata:
    return (("authorization", f"Bearer {secret}"),)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened(ReflectionAccess.KEYS) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(reflection: ReflectionAccess) -> AsyncIterator[Door]:
    clock = SystemClock()
    store, room, behind = MemoryStore(clock=clock), Room(), Jobs()  # type: ignore[abstract]  # what is missing answers UNIMPLEMENTED
    keyring = Keyring(store=store, time=store.time, clock=clock, defaults=UNLIMITED)
    await keyring.refresh()
    denied: list[str] = []
    gate = Gate(
        keyring=keyring,
        admission=room,  # type: ignore[arg-type]  # a fake
        open_calls=room,  # type: ignore[arg-type]  # a fake
        slow_readers=SlowReaders(seconds=30.0, clock=clock),
        audit=Audit(store),
        reflection=reflection,
        on_denied=denied.append,
    )
    server = GrpcServer(address="127.0.0.1:0", translate=translate, interceptors=[gate])
    vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(behind, server.server)
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(Executors(), server.server)  # type: ignore[abstract]  # as above
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(Operators(), server.server)  # type: ignore[abstract]  # as above
    address = await server.start([VISION_JOBS, EXECUTORS, ADMIN])
    ending = asyncio.create_task(gate.run())
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            made = Door(keyring, store, channel, behind, room)
            made.denied = denied
            yield made
    finally:
        ending.cancel()
        await server.stop(0)


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Return the code and the reason of an error."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # aio's errors have what it asks for
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return error.code(), info.reason


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
GET = vision_job_service_pb2.GetJobRequest(job_id="1")


async def test_without_keys_everybody_is_served_as_anonymous(door: Door) -> None:
    answer = await door.jobs.GetJob(GET)

    assert (answer.job.job_id, answer.job.client_id) == ("1", ANONYMOUS)


async def test_with_keys_the_caller_is_the_keys_client(door: Door) -> None:
    _, metadata = await door.key(Role.CLIENT, "shop")

    assert (await door.jobs.GetJob(GET, metadata=metadata)).job.client_id == "shop"
    assert (await anext(aiter(door.jobs.WatchJob(GET, metadata=metadata)))).job.client_id == "shop"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "KEY_MISSING"),
        ((("authorization", ""),), "KEY_INVALID"),
        ((("authorization", "Bearer "),), "KEY_MISSING"),
        ((("authorization", "Basic dXNlcjpwYXNz"),), "KEY_INVALID"),
        ((("authorization", "Bearer vj_0_0"),), "KEY_INVALID"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), "KEY_INVALID"),
        ((("api-key", "vj_0_0"),), "KEY_MISSING"),
    ],
)
async def test_a_call_without_a_good_key_is_unauthenticated(door: Door, metadata: Metadata, reason: str) -> None:
    _, good = await door.key(Role.CLIENT)

    assert await refused(door.jobs.GetJob(GET, metadata=metadata)) == (UNAUTHENTICATED, reason)
    assert door.denied == [reason]
    assert await door.jobs.GetJob(GET, metadata=good)


async def test_two_good_keys_in_one_call_are_none(door: Door) -> None:
    _, good = await door.key(Role.CLIENT)

    assert await refused(door.jobs.GetJob(GET, metadata=good + good)) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_a_key_that_another_scheduler_has_just_made_works_at_once(door: Door) -> None:
    await door.key(Role.CLIENT)
    key, secret = new_key("late", Role.CLIENT, UNLIMITED, now=door.store.time.now(), randomness=SystemRandomness())
    await door.store.add_key(key)

    assert (await door.jobs.GetJob(GET, metadata=bearer(secret))).job.client_id == "late"


async def test_each_role_reaches_its_services_only(door: Door) -> None:
    client, executor, admin = [(await door.key(role))[1] for role in Role]
    lanes = admin_service_pb2.ListLanesRequest()

    for metadata in (client, admin):
        assert await door.jobs.GetJob(GET, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(door.executors.Work(iter([]), metadata=metadata)))
        assert refusal(caught.value) == (DENIED, "ROLE_MISSING")
    assert await refused(door.jobs.GetJob(GET, metadata=executor)) == (DENIED, "ROLE_MISSING")
    for metadata in (client, executor):
        assert await refused(door.operators.ListLanes(lanes, metadata=metadata)) == (DENIED, "ROLE_MISSING")
    await door.operators.ListLanes(lanes, metadata=admin)
    hello = iter([executor_service_pb2.WorkRequest()])
    assert (await anext(aiter(door.executors.Work(hello, metadata=executor)))).welcome.session == 1


async def test_a_call_is_refused_before_its_request_is_read(door: Door) -> None:
    await door.key(Role.CLIENT)

    # Sends nothing, and never ends.
    upload = door.jobs.UploadImage()
    assert await refused(upload) == (UNAUTHENTICATED, "KEY_MISSING")

    method: Any = door.channel.unary_unary(f"/{VISION_JOBS}/SubmitJob")
    assert await refused(method(b"\xff this is no message")) == (UNAUTHENTICATED, "KEY_MISSING")


async def test_what_cannot_be_decoded_is_the_callers_error(door: Door) -> None:
    method: Any = door.channel.unary_unary(f"/{VISION_JOBS}/SubmitJob")

    assert await refused(method(b"\xff this is no message")) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE")


async def test_a_unary_call_without_a_request_is_the_callers_error(door: Door) -> None:
    method: Any = door.channel.stream_unary(f"/{VISION_JOBS}/SubmitJob")
    call = method()
    await call.done_writing()

    assert await refused(call) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MISSING")


async def test_a_watch_ends_with_its_key(door: Door) -> None:
    key_id, metadata = await door.key(Role.CLIENT)
    _, other = await door.key(Role.CLIENT)
    watch, stays = door.jobs.WatchJob(GET, metadata=metadata), door.jobs.WatchJob(GET, metadata=other)
    await watch.read()
    await stays.read()

    await door.revoke(key_id)

    assert await refused(watch.read()) == (UNAUTHENTICATED, "KEY_INVALID")
    await door.behind.ended.wait()
    assert door.room.inside == [("backend", "watches")]
    assert not stays.done()


async def test_a_watch_that_nobody_reads_ends_with_its_key(door: Door) -> None:
    key_id, metadata = await door.key(Role.CLIENT)
    watch = door.jobs.WatchJob(vision_job_service_pb2.WatchJobRequest(job_id="endless"), metadata=metadata)
    await watch.read()
    sent = 0
    while sent != door.behind.sent:
        sent = door.behind.sent
        await asyncio.sleep(0.2)

    await door.revoke(key_id)
    await door.behind.ended.wait()

    assert door.room.inside == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            await watch.read()
    assert refusal(caught.value) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_an_upload_and_a_work_stream_end_with_their_key(door: Door) -> None:
    client_id, client = await door.key(Role.CLIENT)
    executor_id, executor = await door.key(Role.EXECUTOR)
    work = door.executors.Work(metadata=executor)
    await work.write(executor_service_pb2.WorkRequest())
    await work.read()
    upload = door.jobs.UploadImage(metadata=client)
    await upload.write(vision_job_service_pb2.UploadImageRequest(chunk=b"x"))
    await door.behind.began.wait()

    await door.revoke(executor_id)
    await door.revoke(client_id)

    assert await refused(work.read()) == (UNAUTHENTICATED, "KEY_INVALID")
    assert await refused(upload) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_a_stream_ends_when_the_overlap_of_its_old_secret_is_over(door: Door) -> None:
    key_id, metadata = await door.key(Role.CLIENT)
    watch = door.jobs.WatchJob(GET, metadata=metadata)
    await watch.read()

    await door.store.rotate_key(key_id, hashed("new"), datetime.timedelta())
    await door.keyring.refresh()

    assert await refused(watch.read()) == (UNAUTHENTICATED, "KEY_INVALID")


async def test_the_first_key_ends_what_nobody_needed_a_key_for(door: Door) -> None:
    watch = door.jobs.WatchJob(GET)
    await watch.read()

    await door.key(Role.ADMIN)

    assert await refused(watch.read()) == (UNAUTHENTICATED, "KEY_INVALID")


async def waiting(door: Door, method: str, metadata: Metadata) -> Any:
    """Return a call that was let in, and whose request has not come yet."""
    call: Any = door.channel.stream_unary(f"/{method}")(metadata=metadata)
    await door.room.entered.wait()
    return call


async def test_a_call_that_waits_for_its_request_ends_with_its_key(door: Door) -> None:
    key_id, metadata = await door.key(Role.CLIENT)
    call = await waiting(door, f"{VISION_JOBS}/SubmitJob", metadata)

    await door.revoke(key_id)

    assert await refused(call) == (UNAUTHENTICATED, "KEY_INVALID")
    assert door.room.inside == []


async def test_the_first_key_ends_calls_that_were_opened_before_it(door: Door) -> None:
    call = await waiting(door, f"{VISION_JOBS}/SubmitJob", ())

    await door.key(Role.ADMIN)

    assert await refused(call) == (UNAUTHENTICATED, "KEY_INVALID")


@pytest.mark.parametrize("name", ["GetJob", "WatchJob"])
async def test_a_late_request_is_not_served_by_a_key_that_may_have_ended(
    door: Door, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, metadata = await door.key(Role.CLIENT)
    call = await waiting(door, f"{VISION_JOBS}/{name}", metadata)
    later = door.keyring._clock.monotonic() + 60
    monkeypatch.setattr(door.keyring._clock, "monotonic", lambda: later, raising=False)

    await call.write(GET.SerializeToString())
    await call.done_writing()

    assert await refused(call) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert door.denied == ["STORE_UNAVAILABLE"]


async def test_a_call_without_a_request_does_not_keep_its_place(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.rpc.gate._REQUEST_SECONDS", 0.05)
    call = await waiting(door, f"{VISION_JOBS}/SubmitJob", ())

    assert await refused(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_LATE")
    assert door.room.inside == []


async def test_a_full_house_refuses_and_the_next_call_works(door: Door) -> None:
    door.room.is_full = True
    code, _ = await refused(door.jobs.GetJob(GET))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    door.room.is_full = False
    assert await door.jobs.GetJob(GET)
    assert door.room.inside == []


async def test_overload_refuses_submissions_only(door: Door) -> None:
    door.room.is_overloaded = True

    submission = vision_job_service_pb2.SubmitJobRequest()
    assert await refused(door.jobs.SubmitJob(submission)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert await door.jobs.GetJob(GET)
    assert door.denied == ["OVERLOADED"]


async def test_changes_go_on_record_with_their_outcome_and_reads_do_not(door: Door) -> None:
    key_id, metadata = await door.key(Role.ADMIN, "ops")
    await door.operators.ListLanes(admin_service_pb2.ListLanesRequest(), metadata=metadata)
    await door.operators.PauseLane(admin_service_pb2.PauseLaneRequest(lane="*"), metadata=metadata)
    await refused(door.operators.PauseLane(admin_service_pb2.PauseLaneRequest(lane="none"), metadata=metadata))

    entries = await door.store.audit_entries(before=None, limit=10)

    assert [(entry.change.key_id, entry.change.client_id, entry.outcome) for entry in entries] == [
        (key_id, "ops", "NOT_FOUND"),
        (key_id, "ops", "OK"),
    ]
    assert entries[1].change.method == f"{ADMIN}/PauseLane"
    assert entries[1].change.request == '{"lane": "*"}'


async def test_of_a_huge_request_the_beginning_goes_on_record(door: Door) -> None:
    _, metadata = await door.key(Role.ADMIN, "ops")
    lane = "ä" * 1_000_000
    await door.operators.PauseLane(admin_service_pb2.PauseLaneRequest(lane=lane), metadata=metadata)

    [entry] = await door.store.audit_entries(before=None, limit=10)

    assert len(entry.change.request) < 4_000
    told = json.loads(entry.change.request)
    assert told["beginning"].startswith('{"lane": "\\u00e4')
    assert told["characters"] > 1_000_000


async def test_health_is_open_and_reflection_follows_its_setting(door: Door) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    _, metadata = await door.key(Role.EXECUTOR)
    health: Any = health_pb2_grpc.HealthStub(door.channel)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(door.channel)  # type: ignore[arg-type]  # stubs know the other kind
    ask = reflection_pb2.ServerReflectionRequest(list_services="")

    assert await health.Check(health_pb2.HealthCheckRequest())
    assert await refused(anext(aiter(reflection.ServerReflectionInfo(iter([ask]))))) == (UNAUTHENTICATED, "KEY_MISSING")
    listed = await anext(aiter(reflection.ServerReflectionInfo(iter([ask]), metadata=metadata)))
    assert ADMIN in {service.name for service in listed.list_services_response.service}


async def test_streams_of_nobody_are_bounded_and_health_checks_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    monkeypatch.setattr("scheduler.rpc.gate._MAX_PUBLIC", 2)
    ask = health_pb2.HealthCheckRequest()
    async with opened(ReflectionAccess.OPEN) as door:
        health: Any = health_pb2_grpc.HealthStub(door.channel)
        watches = [health.Watch(ask) for _ in range(2)]
        for watch in watches:
            await watch.read()

        assert await refused(health.Watch(ask).read()) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_PUBLIC_STREAMS",
        )
        assert await health.Check(ask)
        watches[0].cancel()
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await health.Watch(ask).read()
                    break


async def test_a_health_check_without_a_request_ends(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.rpc.gate._REQUEST_SECONDS", 0.05)
    call: Any = door.channel.stream_unary("/grpc.health.v1.Health/Check")()

    assert await refused(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "REQUEST_LATE")


async def test_reflection_that_is_off_is_so_without_keys_too() -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    async with opened(ReflectionAccess.OFF) as door:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(door.channel)  # type: ignore[arg-type]  # stubs know the other kind

        assert await refused(anext(aiter(reflection.ServerReflectionInfo(iter([ask]))))) == (DENIED, "ROLE_MISSING")


async def test_a_stale_keyring_answers_unavailable(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    _, metadata = await door.key(Role.CLIENT)
    later = door.keyring._clock.monotonic() + 60
    monkeypatch.setattr(door.keyring._clock, "monotonic", lambda: later, raising=False)

    code, reason = await refused(door.jobs.GetJob(GET, metadata=metadata))

    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


def test_a_caller_shows_no_secret() -> None:
    assert "vj_" not in repr(Caller(client_id="backend", role=Role.CLIENT, key_id="0123"))
