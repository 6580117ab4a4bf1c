"""What an operator asks of AdminService, and what it answers about lanes."""

from visionjobs.lanes import BreakerState, Lane
from visionjobs.mapping.enums import word
from visionjobs.mapping.times import time_of
from visionjobs.v1 import admin_service_pb2


def list_request() -> admin_service_pb2.ListLanesRequest:
    """Return the request for all lanes."""
    return admin_service_pb2.ListLanesRequest()


def update_request(
    lane: str,
    *,
    requests_per_minute: int | None,
    input_tokens_per_minute: int | None,
    requests_per_day: int | None,
    max_in_flight: int | None,
    dollars_per_10_minutes: float | None,
) -> admin_service_pb2.UpdateLaneRequest:
    """Return the request that changes the limits which are not None."""
    return admin_service_pb2.UpdateLaneRequest(
        lane=lane,
        requests_per_minute=requests_per_minute,
        input_tokens_per_minute=input_tokens_per_minute,
        requests_per_day=requests_per_day,
        max_in_flight=max_in_flight,
        dollars_per_10_minutes=dollars_per_10_minutes,
    )


def pause_request(lane: str) -> admin_service_pb2.PauseLaneRequest:
    """Return the request that pauses a lane."""
    return admin_service_pb2.PauseLaneRequest(lane=lane)


def resume_request(lane: str) -> admin_service_pb2.ResumeLaneRequest:
    """Return the request that ends a lane's pause."""
    return admin_service_pb2.ResumeLaneRequest(lane=lane)


def reset_breaker_request(lane: str) -> admin_service_pb2.ResetBreakerRequest:
    """Return the request that closes a lane's circuit breaker."""
    return admin_service_pb2.ResetBreakerRequest(lane=lane)


def accepting_request(*, accepting: bool) -> admin_service_pb2.SetAcceptingRequest:
    """Return the request that says whether submissions are taken."""
    return admin_service_pb2.SetAcceptingRequest(accepting=accepting)


def lane(message: admin_service_pb2.Lane) -> Lane:
    """Return the lane of an answer."""
    return Lane(
        lane=message.lane,
        paused=message.paused,
        stopped_reason=message.stopped_reason,
        requests_per_minute=message.requests_per_minute,
        input_tokens_per_minute=message.input_tokens_per_minute,
        requests_per_day=message.requests_per_day,
        max_in_flight=message.max_in_flight,
        dollars_per_10_minutes=message.dollars_per_10_minutes,
        closed_until_time=time_of(message, "closed_until_time"),
        breaker_state=_breaker_state(message.breaker_state),
        breaker_failures=message.breaker_failures,
        breaker_open_until_time=time_of(message, "breaker_open_until_time"),
        queued_jobs=message.queued_jobs,
        running_jobs=message.running_jobs,
    )


def _breaker_state(number: int) -> BreakerState:
    name = word(admin_service_pb2.BreakerState.items(), number, "BREAKER_STATE_")
    return BreakerState(name) if name in BreakerState.__members__ else BreakerState.UNKNOWN
