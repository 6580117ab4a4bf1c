"""Proof of life on one stream, both ways: the executor's by its number, the scheduler's by echoing it."""

from collections import deque
from collections.abc import Callable, Collection

from executor.outbox import Outbox
from executor.ports import Heartbeat, LinkBroken
from executor.work import AttemptId
from runtime.clock import Clock

ECHO_SHARE = 0.4
"""Of the silence after which schedulers give an executor up: a heartbeat that was not echoed within it means a stream
that leads nowhere."""

_LISTING_EVERY = 3


class Heartbeats:
    """The heartbeats of one stream, numbered from 1."""

    def __init__(
        self,
        *,
        interval_seconds: float,
        lost_seconds: float,
        held: Callable[[], Collection[AttemptId]],
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._echo_seconds = lost_seconds * ECHO_SHARE
        self._interval_seconds = interval_seconds
        self._held = held
        self._outbox = outbox
        self._clock = clock
        self._number = 0
        # Number and time of those sent and not echoed yet, oldest first.
        self._unechoed: deque[tuple[int, float]] = deque()

    def echoed(self, number: int) -> float | None:
        """A heartbeat is stored, and so are all before it.

        Returns:
            When the newest of them was sent, by the monotonic clock; None if the echo is no news.
        """
        sent_at = None
        while self._unechoed and self._unechoed[0][0] <= number:
            _, sent_at = self._unechoed.popleft()
        return sent_at

    async def run(self) -> None:
        """Send heartbeats until cancelled. Raises LinkBroken when one is not echoed in time."""
        next_beat = self._clock.monotonic() + self._interval_seconds
        while True:
            await self._clock.sleep(min(next_beat, self._echo_due()) - self._clock.monotonic())
            now = self._clock.monotonic()
            if now >= self._echo_due():
                raise LinkBroken(f"A heartbeat was not echoed within {self._echo_seconds:g} s.")
            if now >= next_beat:
                self._beat(now)
                next_beat = now + self._interval_seconds

    def _echo_due(self) -> float:
        return self._unechoed[0][1] + self._echo_seconds if self._unechoed else float("inf")

    def _beat(self, now: float) -> None:
        self._number += 1
        self._unechoed.append((self._number, now))
        lists_held = self._number % _LISTING_EVERY == 0
        self._outbox.beat(Heartbeat(self._number, list(self._held()) if lists_held else None))
