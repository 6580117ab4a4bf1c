# ruff: noqa: N802 - the methods have the names of the contract
"""The half of the fake scheduler that operators call."""

from typing import Any

import grpc
from fake_answers import failure
from google.protobuf.message import Message
from grpc_status import rpc_status

from visionjobs.v1 import admin_service_pb2, admin_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class FakeAdmin(admin_service_pb2_grpc.AdminServiceServicer):
    """Looks after `lanes`: by name, in the order in which ListLanes tells them. Tells `alerts`, those that hold or all."""

    lanes: dict[str, admin_service_pb2.Lane]
    alerts: list[admin_service_pb2.Alert]

    async def _note(self, request: Message, context: Context) -> None:
        raise NotImplementedError

    async def ListLanes(
        self, request: admin_service_pb2.ListLanesRequest, context: Context
    ) -> admin_service_pb2.ListLanesResponse:
        await self._note(request, context)
        return admin_service_pb2.ListLanesResponse(lanes=self.lanes.values())

    async def UpdateLane(
        self, request: admin_service_pb2.UpdateLaneRequest, context: Context
    ) -> admin_service_pb2.UpdateLaneResponse:
        await self._note(request, context)
        [lane] = await self._lanes(request.lane, context)
        for field, value in request.ListFields():
            setattr(lane, field.name, value)
        return admin_service_pb2.UpdateLaneResponse(lane=lane)

    async def PauseLane(
        self, request: admin_service_pb2.PauseLaneRequest, context: Context
    ) -> admin_service_pb2.PauseLaneResponse:
        await self._note(request, context)
        lanes = await self._lanes(request.lane, context)
        for lane in lanes:
            lane.paused = True
        return admin_service_pb2.PauseLaneResponse(lanes=lanes)

    async def ResumeLane(
        self, request: admin_service_pb2.ResumeLaneRequest, context: Context
    ) -> admin_service_pb2.ResumeLaneResponse:
        await self._note(request, context)
        lanes = await self._lanes(request.lane, context)
        for lane in lanes:
            lane.paused = False
            lane.stopped_reason = ""
        return admin_service_pb2.ResumeLaneResponse(lanes=lanes)

    async def ResetBreaker(
        self, request: admin_service_pb2.ResetBreakerRequest, context: Context
    ) -> admin_service_pb2.ResetBreakerResponse:
        await self._note(request, context)
        [lane] = await self._lanes(request.lane, context)
        lane.breaker_state = admin_service_pb2.BREAKER_STATE_CLOSED
        lane.breaker_failures = 0
        lane.ClearField("breaker_open_until_time")
        return admin_service_pb2.ResetBreakerResponse(lane=lane)

    async def SetAccepting(
        self, request: admin_service_pb2.SetAcceptingRequest, context: Context
    ) -> admin_service_pb2.SetAcceptingResponse:
        await self._note(request, context)
        return admin_service_pb2.SetAcceptingResponse(accepting=request.accepting)

    async def ListAlerts(
        self, request: admin_service_pb2.ListAlertsRequest, context: Context
    ) -> admin_service_pb2.ListAlertsResponse:
        await self._note(request, context)
        told = [alert for alert in self.alerts if alert.active or request.include_ended]
        return admin_service_pb2.ListAlertsResponse(alerts=told)

    async def _lanes(self, name: str, context: Context) -> list[admin_service_pb2.Lane]:
        if name == "*":
            return list(self.lanes.values())
        if name not in self.lanes:
            missing = failure("NOT_FOUND", f"There is no lane {name}.", reason="LANE_NOT_FOUND")
            await context.abort_with_status(rpc_status.to_status(missing))
        return [self.lanes[name]]
