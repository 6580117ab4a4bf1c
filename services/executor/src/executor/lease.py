"""How long this executor may take it for granted that its schedulers count it among the living."""

import math

LEASE_SECONDS = 7.0
"""Counted from the sending, and shorter than the silence after which schedulers give its attempts to others (10 s)."""


class Lease:
    """Renewed by every sign of life that a scheduler has confirmed. All times are of one monotonic clock."""

    def __init__(self) -> None:
        self._sent_at = -math.inf

    def renew(self, sent_at: float) -> None:
        """A sign of life was confirmed that was sent then; one that is older than another changes nothing."""
        self._sent_at = max(self._sent_at, sent_at)

    def holds(self, now: float) -> bool:
        """Return whether no scheduler can have given this executor's attempts to others yet."""
        return now - self._sent_at < LEASE_SECONDS
