"""One attempt under way: where it stands, whether its paid call has begun, and how it is interrupted from outside."""

import asyncio
import datetime
import enum

from executor.ports import ModelAnswer, Progress
from executor.work import Assignment, AttemptId, Stage
from runtime.clock import Clock


class Interruption(enum.Enum):
    """Why an attempt is ended from outside."""

    CANCELLED = enum.auto()
    WITHDRAWN = enum.auto()
    STOPPED = enum.auto()


class Interrupted(Exception):
    """The attempt was interrupted; the attempt knows why."""


class Attempt:
    """Written by its own task, except for `interrupt`."""

    def __init__(self, assignment: Assignment, *, clock: Clock) -> None:
        self.assignment = assignment
        self.attempt_id: AttemptId = assignment.attempt_id
        self.progress: Progress | None = None
        self.stage_seconds: dict[Stage, float] = {}
        self.call_begun = False
        # Whether the call may have been billed. Said to be so as soon as it begins, taken back where it cannot be.
        self.paid = False
        self.answer: ModelAnswer | None = None
        self.interruption: Interruption | None = None
        self.interruption_message = ""
        self._clock = clock
        self._entered = 0.0
        self._deadline: asyncio.Timeout | None = None

    @property
    def timeout_seconds(self) -> float:
        return self.assignment.timeout.total_seconds()

    def begin(self, deadline: asyncio.Timeout) -> None:
        """Take the scope that ends the work early. Raises Interrupted."""
        self._deadline = deadline
        self._raise_if_interrupted()

    def enter(self, stage: Stage) -> Progress:
        """Note that a stage begins, and with it that the one before has ended."""
        self._leave_stage()
        self.progress = Progress(self.attempt_id, stage, self._clock.now())
        return self.progress

    def begin_call(self) -> None:
        """Note that the paid call begins now, and the timeout with it. Raises Interrupted."""
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
        self._deadline = None
        self._leave_stage()
        return self._clock.now()

    def _leave_stage(self) -> None:
        now = self._clock.monotonic()
        if self.progress is not None:
            self.stage_seconds[self.progress.stage] = now - self._entered
        self._entered = now

    def _raise_if_interrupted(self) -> None:
        if self.interruption is not None:
            raise Interrupted
