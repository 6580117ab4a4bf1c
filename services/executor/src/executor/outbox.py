"""What waits to be sent on the present stream; one message carries all of it.

Between two streams nothing is kept but those who wait for their announcement: the next hello names what is held, and
the session says again where everything stands.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from executor.ports import Credit, Heartbeat, Progress, Uplink
from executor.slots import Slots
from executor.work import AttemptId


@dataclass(slots=True)
class _Batch:
    accepted: list[AttemptId] = field(default_factory=list)
    # Keys alone count: said once, however often it is put.
    ready: dict[AttemptId, None] = field(default_factory=dict)
    progress: dict[AttemptId, Progress] = field(default_factory=dict)
    outcomes: list[bytes] = field(default_factory=list)
    withdrawn: list[AttemptId] = field(default_factory=list)
    heartbeat: Heartbeat | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.accepted or self.ready or self.progress or self.outcomes or self.withdrawn or self.heartbeat)

    def forget(self, attempt_id: AttemptId) -> None:
        """The attempt has ended: where it stood is no news any more."""
        self.ready.pop(attempt_id, None)
        self.progress.pop(attempt_id, None)


class Outbox:
    """Filled by everybody, emptied by the session's sender. Bounded by nature: by slots, and by unsent outcomes."""

    def __init__(self, *, slots: Slots) -> None:
        self._slots = slots
        self._wake = asyncio.Event()
        slots.listen(self._wake.set)
        # Announcements that no stream has taken yet, and those in the message that is being sent.
        self._waiting: list[asyncio.Future[None]] = []
        self._taken: list[asyncio.Future[None]] = []
        self._is_open = False
        self._assignments_received = 0
        self._last_credit: Credit | None = None
        self._batch = _Batch()

    def open(self) -> None:
        """Begin a stream: nothing is left over from the one before."""
        self._batch = _Batch()
        self._assignments_received = 0
        self._last_credit = None
        self._is_open = True
        self._wake.set()

    def close(self) -> None:
        """End the stream: what is put from now on is dropped."""
        self._is_open = False
        self._batch = _Batch()
        self._waiting = self._taken + self._waiting
        self._taken = []

    def received(self, assignments: int) -> None:
        """Count assignments of this stream, for the credit."""
        self._assignments_received += assignments
        self._wake.set()

    def accept(self, attempt_id: AttemptId) -> None:
        if self._is_open:
            self._batch.accepted.append(attempt_id)
            self._wake.set()

    def ready(self, attempt_id: AttemptId) -> None:
        """Ask for a permit."""
        if self._is_open:
            self._batch.ready[attempt_id] = None
            self._wake.set()

    def enter(self, progress: Progress) -> None:
        """Tell of a stage."""
        if self._is_open:
            # Of stages that are sent together only the latest is news.
            self._batch.progress[progress.attempt_id] = progress
            self._wake.set()

    async def announce(self, progress: Progress) -> None:
        """Tell of a stage, and return when a stream has taken it: this one, or the next that opens."""
        sent = asyncio.get_running_loop().create_future()
        self._waiting.append(sent)
        self.enter(progress)
        await sent

    def report(self, records: Iterable[tuple[AttemptId, bytes]]) -> None:
        """Send encoded outcomes."""
        if self._is_open:
            for attempt_id, record in records:
                self._batch.forget(attempt_id)
                self._batch.outcomes.append(record)
            self._wake.set()

    def give_back(self, attempt_id: AttemptId) -> None:
        """Confirm that an attempt is given back as the scheduler wished."""
        if self._is_open:
            self._batch.forget(attempt_id)
            self._batch.withdrawn.append(attempt_id)
            self._wake.set()

    def beat(self, heartbeat: Heartbeat) -> None:
        self._batch.heartbeat = heartbeat
        self._wake.set()

    async def take(self) -> Uplink:
        """Return all that waits, as soon as something does; `sent` follows when the stream has taken it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            message = self._drain()
            if message is not None:
                return message

    def sent(self) -> None:
        """What was taken last is on its way."""
        for waiter in self._taken:
            if not waiter.done():
                waiter.set_result(None)
        self._taken = []

    def _drain(self) -> Uplink | None:
        batch = self._batch
        credit = Credit(self._slots.free, self._assignments_received)
        if credit == self._last_credit and batch.is_empty:
            return None
        message = Uplink(
            credit=None if credit == self._last_credit else credit,
            accepted=batch.accepted,
            ready=list(batch.ready),
            progress=list(batch.progress.values()),
            outcomes=batch.outcomes,
            withdrawn=batch.withdrawn,
            heartbeat=batch.heartbeat,
        )
        self._taken, self._waiting = self._taken + self._waiting, []
        self._last_credit = credit
        self._batch = _Batch()
        return message
