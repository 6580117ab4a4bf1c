"""One attempt under way: where it stands, whether its paid call has begun, and how it is interrupted from outside."""

import asyncio
import contextlib
import datetime
import enum
import math
from collections.abc import AsyncIterator, Iterator

from executor.ports import ModelAnswer, Progress
from executor.work import Assignment, AttemptId, Stage
from runtime.clock import Clock


class Interruption(enum.Enum):
    """Why an attempt is ended from outside."""

    CANCELLED = enum.auto()
    WITHDRAWN = enum.auto()
    STOPPED = enum.auto()
    EXPIRED = enum.auto()


class Interrupted(Exception):
    """The attempt was interrupted; the attempt knows why."""


class Attempt:
    """Written by its own task, except for `interrupt` and `permit`."""

    def __init__(self, assignment: Assignment, *, clock: Clock) -> None:
        """Begin to count the time within which the call must begin: the assignment has just been received."""
        self.assignment = assignment
        self.attempt_id: AttemptId = assignment.attempt_id
        self.progress: Progress | None = None
        self.stage_seconds: dict[Stage, float] = {}
        self.call_begun = False
        # Whether the call may have been billed. Said to be so as soon as it begins, taken back where it cannot be.
        self.paid = False
        # Whether the provider answered, in whatever way.
        self.answered = False
        self.answer: ModelAnswer | None = None
        self.interruption: Interruption | None = None
        self.interruption_message = ""
        self._clock = clock
        self._entered = 0.0
        self._deadline: asyncio.Timeout | None = None
        self._permit: asyncio.Future[float] | None = None
        within = assignment.start_within
        self._start_by = math.inf if within is None else clock.monotonic() + within.total_seconds()

    @property
    def timeout_seconds(self) -> float:
        return self.assignment.timeout.total_seconds()

    @property
    def unanswered(self) -> bool:
        """Whether a call was sent that may have been billed, and no answer came."""
        return self.paid and not self.answered

    @property
    def waits_for_permit(self) -> bool:
        return self._permit is not None and not self._permit.done()

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Work inside this block, which an interruption or the timeout ends with TimeoutError. Raises Interrupted."""
        # Open until the call begins: the job's time counts from there.
        async with asyncio.timeout(None) as deadline:
            self._deadline = deadline
            try:
                self._raise_if_interrupted()
                with self._expiring():
                    yield
            finally:
                self._deadline = None

    def enter(self, stage: Stage) -> Progress:
        """Note that a stage begins, and with it that the one before has ended; to enter it twice changes nothing."""
        if self.progress is None or self.progress.stage != stage:
            self._leave_stage()
            self.progress = Progress(self.attempt_id, stage, self._clock.now())
        return self.progress

    async def permitted(self) -> float:
        """Wait for a permit, and return until when it holds."""
        self._permit = asyncio.get_running_loop().create_future()
        try:
            return await self._permit
        finally:
            self._permit = None

    def permit(self, until: float) -> None:
        """Give leave to begin the call until then, by the monotonic clock. One that does not wait for it needs none."""
        if self._permit is not None and not self._permit.done():
            self._permit.set_result(until)

    def begin_call(self) -> None:
        """Note that the paid call begins now, and the timeout with it. Raises Interrupted."""
        if self._clock.monotonic() >= self._start_by:
            self._expire()
        self._raise_if_interrupted()
        self.call_begun = self.paid = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self.timeout_seconds)

    def interrupt(self, why: Interruption, message: str) -> None:
        """End the work at its next step. One that has ended by itself meanwhile stays as it ended."""
        if self.interruption is not None:
            return
        self.interruption = why
        self.interruption_message = message
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def finish(self) -> datetime.datetime:
        """Note that the work has ended, and return when."""
        self._leave_stage()
        return self._clock.now()

    @contextlib.contextmanager
    def _expiring(self) -> Iterator[None]:
        if self._start_by == math.inf:
            yield
            return
        remaining = self._start_by - self._clock.monotonic()
        timer = asyncio.get_running_loop().call_later(max(0.0, remaining), self._expire)
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        if not self.call_begun:
            self.interrupt(Interruption.EXPIRED, "The job expired before its call.")

    def _leave_stage(self) -> None:
        now = self._clock.monotonic()
        if self.progress is not None:
            stage = self.progress.stage
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + now - self._entered
        self._entered = now

    def _raise_if_interrupted(self) -> None:
        if self.interruption is not None:
            raise Interrupted
