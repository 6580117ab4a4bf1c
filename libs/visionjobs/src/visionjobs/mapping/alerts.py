"""What an operator asks about alerts, and what AdminService answers."""

from visionjobs.alerts import Alert
from visionjobs.mapping.times import time_of
from visionjobs.v1 import admin_service_pb2


def list_request(*, include_ended: bool) -> admin_service_pb2.ListAlertsRequest:
    """Return the request for alerts."""
    return admin_service_pb2.ListAlertsRequest(include_ended=include_ended)


def alert(message: admin_service_pb2.Alert) -> Alert:
    """Return the alert of an answer."""
    return Alert(
        name=message.name,
        severity=message.severity,
        active=message.active,
        message=message.message,
        start_time=time_of(message, "start_time"),
        end_time=time_of(message, "end_time"),
    )
