"""What the scheduler counts, and under which names. No count names a job, a client or a user."""

from opentelemetry.metrics import Meter

CALLS_DENIED = "visionjobs.calls.denied"
MODEL_REROUTES = "visionjobs.model.reroutes"
REASON = "reason"
LANE = "lane"


class Counters:
    """Counts by words of closed sets: reasons as callers are told them, and lanes."""

    def __init__(self, meter: Meter) -> None:
        self._denied = meter.create_counter(
            CALLS_DENIED, unit="{call}", description="Calls that were not let in: key, role, limit or overload."
        )
        self._reroutes = meter.create_counter(
            MODEL_REROUTES, unit="{answer}", description="Answers of another model than the one that was asked for."
        )

    def denied(self, reason: str) -> None:
        """Count a call that was not let in."""
        self._denied.add(1, {REASON: reason})

    def rerouted(self, lane: str) -> None:
        """Count an answer that another model gave."""
        self._reroutes.add(1, {LANE: lane})
