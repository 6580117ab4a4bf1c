"""What operators call."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from scheduler.alerts import Alerts
from scheduler.errors import InvalidRequest, Violation
from scheduler.keys import Keys
from scheduler.operate import LaneView, Operate
from scheduler.ports import StoreClock
from scheduler.purge import Purge
from scheduler.read_audit import ReadAudit
from scheduler.records import Alert
from scheduler.rpc.key_calls import KeyCalls
from scheduler.wire import set_time
from visionjobs.v1 import admin_service_pb2 as pb

_Limit = Literal[
    "requests_per_minute",
    "input_tokens_per_minute",
    "requests_per_day",
    "max_in_flight",
    "dollars_per_10_minutes",
]
_LIMITS: tuple[_Limit, ...] = get_args(_Limit)

_Context = Any
"""grpc.aio.ServicerContext; the generated base class asks for both flavours at once."""


class AdminServicer(KeyCalls):
    """Maps requests to the use cases."""

    def __init__(
        self, *, operate: Operate, keys: Keys, audit: ReadAudit, purge: Purge, alerts: Alerts, time: StoreClock
    ) -> None:
        super().__init__(keys=keys, audit=audit)
        self._operate = operate
        self._purge = purge
        self._alerts = alerts
        self._time = time

    async def ListLanes(self, request: pb.ListLanesRequest, context: _Context) -> pb.ListLanesResponse:  # noqa: N802
        del request, context
        return pb.ListLanesResponse(lanes=self._lanes(await self._operate.lanes()))

    async def UpdateLane(self, request: pb.UpdateLaneRequest, context: _Context) -> pb.UpdateLaneResponse:  # noqa: N802
        del context
        limits: dict[str, float] = {name: getattr(request, name) for name in _LIMITS if request.HasField(name)}
        return pb.UpdateLaneResponse(lane=self._lane(await self._operate.update(_name(request.lane), limits)))

    async def PauseLane(self, request: pb.PauseLaneRequest, context: _Context) -> pb.PauseLaneResponse:  # noqa: N802
        del context
        return pb.PauseLaneResponse(lanes=self._lanes(await self._operate.pause(_name(request.lane))))

    async def ResumeLane(self, request: pb.ResumeLaneRequest, context: _Context) -> pb.ResumeLaneResponse:  # noqa: N802
        del context
        return pb.ResumeLaneResponse(lanes=self._lanes(await self._operate.resume(_name(request.lane))))

    async def ResetBreaker(  # noqa: N802
        self, request: pb.ResetBreakerRequest, context: _Context
    ) -> pb.ResetBreakerResponse:
        del context
        return pb.ResetBreakerResponse(lane=self._lane(await self._operate.reset_breaker(_name(request.lane))))

    async def SetAccepting(  # noqa: N802
        self, request: pb.SetAcceptingRequest, context: _Context
    ) -> pb.SetAcceptingResponse:
        del context
        await self._operate.set_accepting(accepting=request.accepting)
        return pb.SetAcceptingResponse(accepting=request.accepting)

    async def PurgeUser(self, request: pb.PurgeUserRequest, context: _Context) -> pb.PurgeUserResponse:  # noqa: N802
        del context
        removal = await self._purge.user(request.client_id, request.user_id)
        return pb.PurgeUserResponse(
            jobs=removal.purged.jobs,
            images=removal.purged.images,
            results=removal.purged.results,
            cancelled_jobs=removal.cancelled_jobs,
            kept_images=len(removal.purged.kept_images),
        )

    async def ListAlerts(self, request: pb.ListAlertsRequest, context: _Context) -> pb.ListAlertsResponse:  # noqa: N802
        del context
        alerts = await self._alerts.all(include_ended=request.include_ended)
        return pb.ListAlertsResponse(alerts=[_alert(alert) for alert in alerts])

    def _lanes(self, views: Iterable[LaneView]) -> list[pb.Lane]:
        return [self._lane(view) for view in views]

    def _lane(self, view: LaneView) -> pb.Lane:
        lane, limits, breaker = view.lane, view.lane.limits, view.lane.breaker
        message = pb.Lane(
            lane=lane.name,
            paused=lane.paused,
            stopped_reason=lane.stopped_reason,
            requests_per_minute=limits.requests_per_minute or 0,
            input_tokens_per_minute=limits.input_tokens_per_minute or 0,
            requests_per_day=limits.requests_per_day or 0,
            max_in_flight=limits.max_in_flight or 0,
            dollars_per_10_minutes=limits.dollars_per_10_minutes or 0.0,
            breaker_failures=breaker.failures,
            queued_jobs=view.load.waiting,
            running_jobs=view.load.running,
        )
        now = self._time.now()
        if breaker.is_closed:
            message.breaker_state = pb.BREAKER_STATE_CLOSED
        elif breaker.is_open(now):
            message.breaker_state = pb.BREAKER_STATE_OPEN
        else:
            message.breaker_state = pb.BREAKER_STATE_PROBING
        set_time(message.breaker_open_until_time, breaker.open_until)
        if lane.closed_until is not None and lane.closed_until > now:
            set_time(message.closed_until_time, lane.closed_until)
        return message


def _alert(alert: Alert) -> pb.Alert:
    message = pb.Alert(name=alert.name, severity=alert.severity, active=alert.end_time is None, message=alert.message)
    set_time(message.start_time, alert.start_time)
    set_time(message.end_time, alert.end_time)
    return message


def _name(lane: str) -> str:
    if not lane or "\x00" in lane:
        raise InvalidRequest([Violation("lane", "is required" if not lane else "contains the character NUL")])
    return lane
