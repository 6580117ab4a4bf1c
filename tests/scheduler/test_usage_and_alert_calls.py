"""GetUsage and ListAlerts over gRPC: who may call them, what they answer, and what they refuse."""

import datetime
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from scheduler_world import FakeSignals
from usage_rows import USED, UsageRows

from runtime import tracing
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.serving import GrpcServer
from scheduler.assembly import Scheduler
from scheduler.callers import UNLIMITED, Role
from scheduler.keys import new_key
from scheduler.memory_store import MemoryStore
from scheduler.records import Alert
from scheduler.rpc.access import ADMIN, VISION_JOBS
from scheduler.rpc.errors import translate
from scheduler.settings import SchedulerSettings
from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

DAY = datetime.date(2026, 11, 24)
NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


class Called:
    """A scheduler on a store in memory, and stubs that call it."""

    def __init__(self, store: MemoryStore, scheduler: Scheduler, channel: grpc.aio.Channel) -> None:
        self.store = store
        self.rows = UsageRows(store, None)
        self.jobs: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        self.operators: Any = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._scheduler = scheduler

    async def key(self, role: Role, client_id: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a new key."""
        key, secret = new_key(client_id, role, UNLIMITED, now=self.store.time.now(), randomness=SystemRandomness())
        await self.store.add_key(key)
        await self._scheduler.prepare()
        return (("authorization", f"Bearer {secret}"),)


async def _ignore_health(healthy: bool) -> None:
    pass


@pytest.fixture
async def called() -> AsyncIterator[Called]:
    clock, randomness = SystemClock(), SystemRandomness()
    store = MemoryStore(clock=clock)
    scheduler = Scheduler(
        SchedulerSettings.model_validate({"database_url": "postgresql://nowhere"}),
        store=store,
        signals=FakeSignals(),
        clock=clock,
        randomness=randomness,
        spans=tracing.Tracing(randomness=randomness),
        on_health=_ignore_health,
        denied=lambda _: None,
        rerouted=lambda _: None,
    )
    await scheduler.prepare()
    server = GrpcServer(address="127.0.0.1:0", translate=translate, interceptors=[scheduler.gate])
    vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(scheduler.jobs, server.server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(scheduler.operators, server.server)
    address = await server.start([VISION_JOBS, ADMIN])
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Called(store, scheduler, channel)
    finally:
        await server.stop(0)


def request(*group_by: str, **times: datetime.datetime) -> vision_job_service_pb2.GetUsageRequest:
    """Ask for the day of NOON unless other times are named, as from_time and to_time."""
    asked = vision_job_service_pb2.GetUsageRequest(group_by=group_by)
    getattr(asked, "from").FromDatetime(times.get("from_time", NOON))
    asked.to.FromDatetime(times.get("to_time", NOON + datetime.timedelta(hours=1)))
    return asked


async def refused(call: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return the code, the reason and the paths of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # aio's errors have what it asks for
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(bad)
    return caught.value.code(), info.reason, [violation.field for violation in bad.field_violations]


async def test_usage_is_told_with_its_groups(called: Called) -> None:
    await called.rows.add(DAY, client_id="anonymous", jobs=7, labels={"team": "red"}, unanswered_calls=2)

    answer = await called.jobs.GetUsage(request("user", "label:team", "day"))

    [row] = answer.rows
    assert dict(row.group) == {"user": "user", "label:team": "red", "day": "2026-11-24"}
    assert (row.jobs, row.cost_usd, row.wasted_usd, row.unanswered_calls) == (7, 0.5, 0.25, 2)
    tokens = row.usage
    assert (tokens.input_tokens, tokens.output_tokens, tokens.thinking_tokens) == (5, 4, 3)
    assert (tokens.cached_tokens, tokens.image_tokens) == (USED.cached_tokens, USED.image_tokens)


async def test_a_client_is_told_its_own_usage_alone(called: Called) -> None:
    mine, others = await called.key(Role.CLIENT, "mine"), await called.key(Role.CLIENT, "others")
    executor = await called.key(Role.EXECUTOR, "mine")
    await called.rows.add(DAY, client_id="mine", jobs=7)

    assert [row.jobs for row in (await called.jobs.GetUsage(request("user"), metadata=mine)).rows] == [7]
    assert list((await called.jobs.GetUsage(request("user"), metadata=others)).rows) == []
    code, reason, _ = await refused(called.jobs.GetUsage(request("user"), metadata=executor))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")


async def test_what_cannot_be_asked_is_refused_with_its_paths(called: Called) -> None:
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    no_time = vision_job_service_pb2.GetUsageRequest(to=timestamp_pb2.Timestamp(seconds=10**15))
    nothing = vision_job_service_pb2.GetUsageRequest(group_by=["team"])

    assert await refused(called.jobs.GetUsage(nothing)) == (*invalid, ["from", "to", "group_by[0]"])
    assert await refused(called.jobs.GetUsage(no_time)) == (*invalid, ["to"])
    backwards = request(from_time=NOON, to_time=NOON)
    assert await refused(called.jobs.GetUsage(backwards)) == (*invalid, ["to"])


async def test_an_answer_of_more_than_three_mebibytes_is_refused(called: Called) -> None:
    for number in range(3_500):
        await called.rows.add(DAY, client_id="anonymous", user_id=f"{number:0900}")

    code, reason, _ = await refused(called.jobs.GetUsage(request("user")))

    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")
    assert len((await called.jobs.GetUsage(request("day"))).rows) == 1


async def test_alerts_are_told_to_admins(called: Called) -> None:
    admin, client = await called.key(Role.ADMIN, "ops"), await called.key(Role.CLIENT, "mine")
    for subject in ("over", "active"):
        await called.store.raise_alert(
            Alert(name="MODEL_REROUTED", subject=subject, severity="WARNING", message=subject, start_time=NOON)
        )
    await called.store.end_alert("MODEL_REROUTED", "over")

    active = await called.operators.ListAlerts(admin_service_pb2.ListAlertsRequest(), metadata=admin)
    both = await called.operators.ListAlerts(admin_service_pb2.ListAlertsRequest(include_ended=True), metadata=admin)

    [alert] = active.alerts
    assert (alert.name, alert.severity, alert.active, alert.message) == ("MODEL_REROUTED", "WARNING", True, "active")
    assert alert.start_time.ToDatetime(datetime.UTC) == NOON
    assert not alert.HasField("end_time")
    assert {(each.message, each.active, each.HasField("end_time")) for each in both.alerts} == {
        ("active", True, False),
        ("over", False, True),
    }
    code, reason, _ = await refused(called.operators.ListAlerts(admin_service_pb2.ListAlertsRequest(), metadata=client))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
    # It only reads, so it is not on record.
    assert await called.store.audit_entries(before=None, limit=10) == []
