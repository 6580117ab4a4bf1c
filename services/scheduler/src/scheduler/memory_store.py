"""The store in dictionaries: what the store's ports promise, as short as it can be said.

For tests of use cases, and for simulations. It has no floors, partitions, batches or connections; the conformance suite
holds it and Postgres to the same results. Every method runs without giving up control, which makes it atomic.
"""

import datetime

from scheduler.memory_alerts import MemoryAlerts
from scheduler.memory_claims import MemoryClaims
from scheduler.memory_dedup import Dedup
from scheduler.memory_executors import MemoryExecutors
from scheduler.memory_images import MemoryImages
from scheduler.memory_keys import MemoryKeys
from scheduler.memory_outcomes import MemoryOutcomes
from scheduler.memory_purge import MemoryPurge
from scheduler.memory_reading import MemoryReading
from scheduler.memory_refusals import MemoryRefusals
from scheduler.memory_submissions import MemorySubmissions
from scheduler.memory_usage import MemoryUsage
from scheduler.ports import StoreClock


class MemoryStore(
    MemorySubmissions,
    MemoryImages,
    MemoryClaims,
    MemoryOutcomes,
    MemoryExecutors,
    MemoryReading,
    MemoryKeys,
    MemoryPurge,
    MemoryRefusals,
    MemoryAlerts,
):
    """Implements ports.Store; each base class one of its readers."""

    def __init__(self, *, clock: StoreClock, result_lifetime: datetime.timedelta = datetime.timedelta(hours=1)) -> None:
        MemorySubmissions.__init__(self, clock=clock)
        MemoryKeys.__init__(self, clock=clock)
        MemoryRefusals.__init__(self, clock=clock)
        MemoryAlerts.__init__(self, clock=clock)
        self._dedup = Dedup(self._rows, result_lifetime=result_lifetime)
        self._usage = MemoryUsage()
        MemoryPurge.__init__(self, self._rows, self._dedup, self._usage)
        self._executors = {}
        self._image_ends = {}

    @property
    def time(self) -> StoreClock:
        return self._time

    async def maintain(self) -> None:
        """Nothing wants doing here."""
