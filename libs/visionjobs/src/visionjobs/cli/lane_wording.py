"""What people are told about a lane, without colour or layout."""

from collections.abc import Iterator
from datetime import datetime

from visionjobs.cli.wording import clock_time, one_line
from visionjobs.lanes import BreakerState, Lane


def is_open(lane: Lane, present: datetime) -> bool:
    """Say whether nothing keeps the lane from calling the provider."""
    return not any(_obstacles(lane, present))


def state(lane: Lane, present: datetime) -> str:
    """Return what the lane does now: everything that keeps it from calling, or that it is open."""
    obstacles = "; ".join(_obstacles(lane, present))
    if obstacles or not lane.breaker_failures:
        return one_line(obstacles or "open")
    return f"open, {lane.breaker_failures} {'failure' if lane.breaker_failures == 1 else 'failures in a row'}"


def _obstacles(lane: Lane, present: datetime) -> Iterator[str]:
    if lane.stopped_reason:
        yield f"stopped: {lane.stopped_reason}"
    if lane.paused:
        yield "paused"
    yield from _breaker(lane, present)
    if lane.closed_until_time and lane.closed_until_time > present:
        yield f"closed by the provider until {clock_time(lane.closed_until_time, present)}"


def _breaker(lane: Lane, present: datetime) -> Iterator[str]:
    match lane.breaker_state:
        case BreakerState.OPEN if lane.breaker_open_until_time and lane.breaker_open_until_time > present:
            yield f"breaker open until {clock_time(lane.breaker_open_until_time, present)}"
        case BreakerState.OPEN:
            yield "breaker open, a probe is due"
        case BreakerState.PROBING:
            yield "breaker open, a probe is under way"
        case BreakerState.CLOSED | BreakerState.UNKNOWN:
            pass


def limits(lane: Lane) -> str:
    """Return the limits that the lane has."""
    return ", ".join(_limits(lane)) or "none"


def _limits(lane: Lane) -> Iterator[str]:
    if lane.requests_per_minute:
        yield f"{lane.requests_per_minute:,} calls/min"
    if lane.input_tokens_per_minute:
        yield f"{lane.input_tokens_per_minute:,} tokens/min"
    if lane.requests_per_day:
        yield f"{lane.requests_per_day:,} calls/day"
    if lane.max_in_flight:
        yield f"{lane.max_in_flight:,} at once"
    if lane.dollars_per_10_minutes:
        yield f"${lane.dollars_per_10_minutes:,.2f}/10 min"
