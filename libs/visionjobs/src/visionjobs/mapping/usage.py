"""What a client asks about its usage, and what VisionJobService answers."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time

from visionjobs.mapping import answers
from visionjobs.mapping.times import time_message
from visionjobs.usage import UsageRow
from visionjobs.v1 import vision_job_service_pb2


def usage_request(from_day: date, to_day: date, group_by: Iterable[str]) -> vision_job_service_pb2.GetUsageRequest:
    """Return the request for the days from one to before the other."""
    request = vision_job_service_pb2.GetUsageRequest(to=time_message(_begin(to_day)), group_by=group_by)
    # Its name is a word of Python's.
    getattr(request, "from").CopyFrom(time_message(_begin(from_day)))
    return request


def row(message: vision_job_service_pb2.UsageRow) -> UsageRow:
    """Return the row of an answer."""
    return UsageRow(
        group=dict(message.group),
        jobs=message.jobs,
        usage=answers.usage(message.usage),
        cost_usd=message.cost_usd,
        wasted_usd=message.wasted_usd,
        unanswered_calls=message.unanswered_calls,
    )


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
