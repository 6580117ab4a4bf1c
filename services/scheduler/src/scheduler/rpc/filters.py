"""Filters of lists and bulk calls, from protobuf to the domain. All raise InvalidRequest."""

import datetime
from collections.abc import Collection, Mapping

from google.protobuf import timestamp_pb2

from scheduler.errors import InvalidRequest, Violation
from scheduler.jobs import JobState
from scheduler.records import JobQuery
from scheduler.rpc import mapping
from scheduler.validation import check_labels
from visionjobs.v1 import vision_job_service_pb2 as pb


def list_filter(request: pb.ListJobsRequest) -> JobQuery:
    return JobQuery(
        user_id=_text(request.user_id, "user_id"),
        states=_states(request.states, "states"),
        labels=labels(request.labels),
    )


def job_filter(message: pb.JobFilter) -> JobQuery:
    """Return the filter of a bulk call."""
    return JobQuery(
        user_id=_text(message.user_id, "filter.user_id"),
        states=_states(message.states, "filter.states"),
        labels=labels(message.labels, "filter"),
        lane=_text(message.lane, "filter.lane"),
        from_time=_time(message.from_time, "filter.from_time") if message.HasField("from_time") else None,
        to_time=_time(message.to_time, "filter.to_time") if message.HasField("to_time") else None,
    )


def labels(asked: Mapping[str, str], path: str = "") -> dict[str, str]:
    if violations := check_labels(asked, path):
        raise InvalidRequest(violations)
    return dict(asked)


def _states(values: Collection[int], path: str) -> frozenset[JobState]:
    try:
        return mapping.states(values)
    except ValueError:
        raise InvalidRequest([Violation(path, "contains a value that is not a JobState")]) from None


def _text(value: str, path: str) -> str:
    if "\x00" in value:
        raise InvalidRequest([Violation(path, "contains the character NUL")])
    return value


def _time(stamp: timestamp_pb2.Timestamp, path: str) -> datetime.datetime:
    try:
        return mapping.time(stamp)
    except ValueError as error:
        raise InvalidRequest([Violation(path, str(error))]) from None
