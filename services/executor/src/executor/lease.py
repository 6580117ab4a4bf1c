"""How long this executor may take it for granted that its schedulers count it among the living."""

import math

LOST_SECONDS = 10.0
"""The silence after which schedulers give an executor's attempts to others, where they do not say it."""

LEASE_SHARE = 0.7
"""Of that time, counted from the sending."""


class Lease:
    """Renewed by every sign of life that a scheduler has confirmed. All times are of one monotonic clock."""

    def __init__(self) -> None:
        self._sent_at = -math.inf
        self._seconds = LOST_SECONDS * LEASE_SHARE

    def fit(self, lost_seconds: float) -> None:
        """Hold as long as schedulers wait that give up after this silence."""
        self._seconds = lost_seconds * LEASE_SHARE

    def renew(self, sent_at: float) -> None:
        """A sign of life was confirmed that was sent then; one that is older than another changes nothing."""
        self._sent_at = max(self._sent_at, sent_at)

    def holds(self, now: float) -> bool:
        """Return whether no scheduler can have given this executor's attempts to others yet."""
        return now - self._sent_at < self._seconds
