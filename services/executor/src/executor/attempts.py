"""The attempts that run here: begun by an assignment, each in a task of its own, over when their outcome is kept."""

import asyncio
from collections.abc import Collection, Iterable

from executor.attempt import Attempt, Interruption
from executor.execute import Execute
from executor.outbox import Outbox
from executor.ports import Permit
from executor.report import Reporter
from executor.slots import Slots
from executor.work import Assignment, AttemptId, Failed, Outcome
from runtime import logs
from runtime.clock import Clock

_log = logs.get_logger(__name__)


class Attempts:
    """Starts attempts, and interrupts them. `run` must be running before `start` is called."""

    def __init__(self, *, execute: Execute, reporter: Reporter, outbox: Outbox, slots: Slots, clock: Clock) -> None:
        self._execute = execute
        self._reporter = reporter
        self._outbox = outbox
        self._slots = slots
        self._clock = clock
        self._running: dict[AttemptId, Attempt] = {}
        # Why nothing begins any more; "" while attempts may begin.
        self._stopped = ""
        self._tasks = asyncio.TaskGroup()
        self._none_runs = asyncio.Event()
        self._none_runs.set()

    async def run(self) -> None:
        """Let attempts run until cancelled."""
        async with self._tasks:
            await asyncio.get_running_loop().create_future()

    @property
    def held(self) -> Collection[AttemptId]:
        """Every attempt from receipt of its assignment until its outcome is acknowledged."""
        return self._running.keys() | self._reporter.unacknowledged

    def start(self, assignment: Assignment) -> None:
        """Begin an attempt; one that is held already is not begun twice."""
        attempt_id = assignment.attempt_id
        self._outbox.accept(attempt_id)
        if attempt_id in self._running or attempt_id in self._reporter.unacknowledged:
            return
        attempt = self._running[attempt_id] = Attempt(assignment, clock=self._clock)
        if self._stopped:
            attempt.interrupt(Interruption.STOPPED, self._stopped)
        self._none_runs.clear()
        self._slots.use()
        self._tasks.create_task(self._run(attempt))

    def permit(self, permits: Iterable[Permit]) -> None:
        """Let calls begin that wait for it."""
        received = self._clock.monotonic()
        for permit in permits:
            attempt = self._running.get(permit.attempt_id)
            if attempt is not None:
                attempt.permit(received + permit.validity.total_seconds())

    def cancel(self, attempt_ids: Collection[AttemptId], message: str) -> None:
        """Stop attempts, also in the middle of their call."""
        self._interrupt(attempt_ids, Interruption.CANCELLED, message)

    def withdraw(self, attempt_ids: Collection[AttemptId]) -> None:
        """Give attempts back whose paid call has not begun; the others go on."""
        for attempt_id in attempt_ids:
            if attempt_id not in self._running and attempt_id not in self._reporter.unacknowledged:
                # It never arrived, or has gone back before.
                self._outbox.give_back(attempt_id)
        waiting = [each for each in attempt_ids if each in self._running and not self._running[each].call_begun]
        self._interrupt(waiting, Interruption.WITHDRAWN, "Its scheduler wished it back.")

    def release_uncalled(self, message: str) -> None:
        """Release attempts whose paid call has not begun, also those that are still to come."""
        self._stopped = message
        uncalled = [attempt_id for attempt_id, attempt in self._running.items() if not attempt.call_begun]
        self._interrupt(uncalled, Interruption.STOPPED, message)

    def release_all(self, message: str) -> None:
        """Release every attempt, also in the middle of its call."""
        self._interrupt(list(self._running), Interruption.STOPPED, message)

    async def finished(self) -> None:
        """Wait until no attempt runs."""
        await self._none_runs.wait()

    def tell_stages(self) -> None:
        """Say where every running attempt stands, and which wait for a permit, on a new stream."""
        for attempt in self._running.values():
            if attempt.progress is not None:
                self._outbox.enter(attempt.progress)
            if attempt.waits_for_permit:
                self._outbox.ready(attempt.attempt_id)

    def _interrupt(self, attempt_ids: Collection[AttemptId], why: Interruption, message: str) -> None:
        for attempt_id in attempt_ids:
            attempt = self._running.get(attempt_id)
            if attempt is not None:
                attempt.interrupt(why, message)

    async def _run(self, attempt: Attempt) -> None:
        try:
            outcome = await self._outcome(attempt)
            if outcome is None:
                self._outbox.give_back(attempt.attempt_id)
            else:
                await self._reporter.report(outcome)
        finally:
            del self._running[attempt.attempt_id]
            self._slots.release()
            if not self._running:
                self._none_runs.set()

    async def _outcome(self, attempt: Attempt) -> Outcome | None:
        try:
            return await self._execute.run(attempt)
        except Exception as error:  # noqa: BLE001 - a defect that one job brings out must not take the others along
            _log.error("attempt_broke", job_id=attempt.attempt_id.job_id, exc_info=error)
            return Outcome(
                attempt_id=attempt.attempt_id,
                verdict=Failed(
                    kind="INTERNAL", message=f"The executor failed: {type(error).__name__}.", retryable=True
                ),
                paid=attempt.paid,
                unanswered=attempt.unanswered,
                traceparent=attempt.assignment.traceparent,
                finish_time=attempt.finish(),
                step=attempt.assignment.step,
                steps=attempt.assignment.steps,
            )
