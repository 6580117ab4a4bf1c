"""What the scheduler counts, and under which names. No count names a job, a client or a user."""

from opentelemetry.metrics import Meter

CALLS_DENIED = "visionjobs.calls.denied"
REASON = "reason"


class Counters:
    """Counts by reason: UPPER_SNAKE words of a closed set, the same that callers are told."""

    def __init__(self, meter: Meter) -> None:
        self._denied = meter.create_counter(
            CALLS_DENIED, unit="{call}", description="Calls that were not let in: key, role, limit or overload."
        )

    def denied(self, reason: str) -> None:
        """Count a call that was not let in."""
        self._denied.add(1, {REASON: reason})
