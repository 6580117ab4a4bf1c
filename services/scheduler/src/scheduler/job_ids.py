"""Job ids: UUIDv7 (RFC 9562) in the database's time, so that they sort by submission and name their partition."""

import datetime
import re
import uuid

from runtime.randomness import Randomness

_COUNTER_BITS = 12
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class JobIds:
    """Makes ids that only grow, also within a millisecond and when the clock steps back (RFC 9562, 6.2, method 1)."""

    def __init__(self, *, randomness: Randomness) -> None:
        self._randomness = randomness
        self._milliseconds = 0
        self._counter = 0

    def next(self, now: datetime.datetime) -> str:
        """Return the next id."""
        milliseconds = int(now.timestamp() * 1000)
        if milliseconds > self._milliseconds:
            self._milliseconds, self._counter = milliseconds, 0
        elif self._counter + 1 < 1 << _COUNTER_BITS:
            self._counter += 1
        else:
            self._milliseconds, self._counter = self._milliseconds + 1, 0
        tail = int.from_bytes(self._randomness.token(8), "big") & ((1 << 62) - 1)
        return str(uuid.UUID(int=self._milliseconds << 80 | 0x7 << 76 | self._counter << 64 | 0x2 << 62 | tail))


def normalised(job_id: str) -> str | None:
    """Return the id in canonical form, or None if it is not a UUID."""
    # Executors always send the canonical form, thousands of times a second; parsing costs ten times as much.
    if _CANONICAL.fullmatch(job_id):
        return job_id
    try:
        return str(uuid.UUID(job_id))
    except ValueError:
        return None
