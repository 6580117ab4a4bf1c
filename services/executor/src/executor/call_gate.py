"""Lets a paid call begin: under the executor's lease, with a permit where the lane needs one, and announced.

What is true is looked at once more after the announcement, immediately before the call: a process that was frozen in
between must not begin what it may have lost.
"""

import asyncio
import math
from typing import Protocol

from executor.attempt import Attempt
from executor.lease import Lease
from executor.ports import Progress
from executor.work import AttemptId, Stage
from runtime.clock import Clock

_DEEPSEEK = "deepseek"
_LONGEST_REST_SECONDS = 1.0


class CallAnnouncer(Protocol):
    """Where the gate speaks to schedulers."""

    def enter(self, progress: Progress) -> None:
        """Tell of a stage."""
        ...

    def ready(self, attempt_id: AttemptId) -> None:
        """Ask for a permit."""
        ...

    async def announce(self, progress: Progress) -> None:
        """Tell of a stage, and return when it is on its way to a scheduler."""
        ...


class CallGate:
    """One for all attempts."""

    def __init__(self, *, announcer: CallAnnouncer, clock: Clock) -> None:
        self._announcer = announcer
        self._clock = clock
        self._lease = Lease()
        self._renewed = asyncio.Event()
        # Until when, by the monotonic clock, each lane is left alone.
        self._rest_until: dict[str, float] = {}

    def fit_lease(self, lost_seconds: float) -> None:
        """The scheduler gives this executor up after this silence."""
        self._lease.fit(lost_seconds)

    def renew_lease(self, sent_at: float) -> None:
        """A scheduler has confirmed a sign of life that was sent then, by the monotonic clock."""
        self._lease.renew(sent_at)
        self._renewed.set()

    def rest(self, lane: str, seconds: float) -> None:
        """Begin no call of a lane for this long, at most a second: its provider has just asked for it.

        By then the scheduler has closed the lane, and takes back what waits here; for how long is its business alone.
        """
        until = self._clock.monotonic() + min(seconds, _LONGEST_REST_SECONDS)
        self._rest_until[lane] = max(self._rest_until.get(lane, 0.0), until)

    async def begin_call(self, attempt: Attempt) -> None:
        """Return when the paid call may begin; it counts as begun then, so nothing may come before it. Raises Interrupted.

        A permit that has run out before that is asked for anew, and the announcement is taken back.
        """
        while True:
            leave_until = await self._leave(attempt)
            # A scheduler that loses this executor must know that a paid call may have begun.
            await self._announcer.announce(attempt.enter(_stage(attempt)))
            now = self._clock.monotonic()
            if self._lease.holds(now) and now < leave_until and not self._rests(attempt, now):
                attempt.begin_call()
                return

    async def _leave(self, attempt: Attempt) -> float:
        """Wait for the lease, and for a permit if one is needed; return until when the permit holds."""
        await self._rested(attempt)
        if not attempt.assignment.permit_required:
            await self._leased()
            return math.inf
        self._announcer.enter(attempt.enter(Stage.WAITING_FOR_PERMIT))
        # First, because a permit that cannot be used is lost to the lane.
        await self._leased()
        self._announcer.ready(attempt.attempt_id)
        return await attempt.permitted()

    def _rests(self, attempt: Attempt, now: float) -> bool:
        return now < self._rest_until.get(attempt.assignment.lane, 0.0)

    async def _rested(self, attempt: Attempt) -> None:
        while self._rests(attempt, now := self._clock.monotonic()):
            self._announcer.enter(attempt.enter(Stage.WAITING_FOR_PERMIT))
            await self._clock.sleep(self._rest_until[attempt.assignment.lane] - now)

    async def _leased(self) -> None:
        while not self._lease.holds(self._clock.monotonic()):
            self._renewed.clear()
            await self._renewed.wait()


def _stage(attempt: Attempt) -> Stage:
    return Stage.DEEPSEEK_ANALYZING if attempt.assignment.provider == _DEEPSEEK else Stage.GEMINI_ANALYZING
