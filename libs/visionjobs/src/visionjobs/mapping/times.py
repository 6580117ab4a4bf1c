"""Times and spans between Python and protobuf."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def duration_message(span: timedelta | None) -> Duration | None:
    """Return the span as a message; none stays none."""
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


def time_message(time: datetime | None) -> Timestamp | None:
    """Return the aware time as a message; none stays none."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def time_of(message: Message, name: str) -> datetime | None:
    """Return the time that a message holds in a field, none if the field is absent."""
    if not message.HasField(name):
        return None
    timestamp: Timestamp = getattr(message, name)
    return timestamp.ToDatetime(tzinfo=UTC)
