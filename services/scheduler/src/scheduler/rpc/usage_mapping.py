"""Usage, from protobuf to the domain and back."""

import asyncio
import datetime
from collections.abc import Sequence

from scheduler.errors import InvalidRequest, UsageTooLarge, Violation
from scheduler.records import UsageRow
from scheduler.rpc import mapping
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

# Rows that are mapped before others get a turn.
_ROWS_AT_ONCE = 500


def time(request: pb.GetUsageRequest, name: str) -> datetime.datetime | None:
    """Return a time of the request, None where it is not set. Raises InvalidRequest for one that no calendar has."""
    if not request.HasField(name):  # type: ignore[arg-type]  # the stubs want a literal
        return None
    try:
        return mapping.time(getattr(request, name))
    except ValueError as error:
        raise InvalidRequest([Violation(name, str(error))]) from None


async def answer(rows: Sequence[UsageRow], *, max_bytes: int) -> pb.GetUsageResponse:
    """Return the rows as an answer. Raises UsageTooLarge if it were larger than that."""
    messages: list[pb.UsageRow] = []
    size = 0
    for index, row in enumerate(rows):
        if index % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1:
            await asyncio.sleep(0)
        message = _row(row)
        size += message.ByteSize() + 16
        if size > max_bytes:
            raise UsageTooLarge
        messages.append(message)
    return pb.GetUsageResponse(rows=messages)


def _row(row: UsageRow) -> pb.UsageRow:
    return pb.UsageRow(
        group=row.group,
        jobs=row.jobs,
        usage=job_pb2.Usage(
            input_tokens=row.usage.input_tokens,
            output_tokens=row.usage.output_tokens,
            thinking_tokens=row.usage.thinking_tokens,
            cached_tokens=row.usage.cached_tokens,
            image_tokens=row.usage.image_tokens,
        ),
        cost_usd=row.cost_usd,
        wasted_usd=row.wasted_usd,
        unanswered_calls=row.unanswered_calls,
    )
