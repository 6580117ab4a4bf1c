"""What can go wrong in a use case.

SchedulerError
├── InvalidRequest        bad fields, each with its path
├── JobNotFound
├── RequestIdReused       same request_id, another spec
├── JobIsFinal            it has ended, and cannot be stopped
├── JobIsNotFinal         it has not ended, and cannot be done again
├── ImagesGone            a job cannot be done again without its images
├── LaneNotFound
├── NotAccepting          an operator closed the door for submissions
├── BreakerOpen           the submission wished to fail rather than to wait
├── AnswerTooLarge        ask for fewer jobs
├── ImageNotAssigned      an executor asks for an image that none of its jobs uses
├── ProtocolViolation     a peer speaks the Work stream wrongly
│   └── StaleHello        a later hello of the executor was stored before
├── Stopping              this scheduler goes away
├── StoreUnavailable      the database is away
└── WrongRevision         the database fits another version
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.jobs import JobState


class SchedulerError(Exception):
    """Base of all."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: dotted path from the request's root."""

    path: str
    description: str


class InvalidRequest(SchedulerError):
    """Some fields are bad; nothing was stored."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        shown = "; ".join(f"{v.path}: {v.description}"[:300] for v in violations[:3])
        super().__init__(shown + (f"; and {len(violations) - 3} more" if len(violations) > 3 else ""))
        self.violations = tuple(violations)


class JobNotFound(SchedulerError):
    """The caller has no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}.")
        self.job_id = job_id


class RequestIdReused(SchedulerError):
    """The request_id belongs to a submission with another spec."""

    def __init__(self, request_id: str, job_id: str | None) -> None:
        where = f"for job {job_id}" if job_id else "twice in this batch,"
        super().__init__(f"The request_id {request_id} was used {where} with another spec.")
        self.request_id = request_id
        self.job_id = job_id


class JobIsFinal(SchedulerError):
    """The job has ended, and not by being cancelled."""

    def __init__(self, job_id: str, state: JobState) -> None:
        super().__init__(f"The job {job_id} has ended as {state.name}.")
        self.job_id = job_id
        self.state = state


class JobIsNotFinal(SchedulerError):
    """The job has not ended."""

    def __init__(self, job_id: str, state: JobState) -> None:
        super().__init__(f"The job {job_id} is {state.name}; only a job that has ended can be done again.")
        self.job_id = job_id
        self.state = state


class ImagesGone(SchedulerError):
    """The job's images are not kept any more."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The images of job {job_id} are not kept any more; submit it with its images.")
        self.job_id = job_id


class LaneNotFound(SchedulerError):
    """There is no such lane."""

    def __init__(self, lane: str) -> None:
        super().__init__(f"There is no lane {lane}.")
        self.lane = lane


class NotAccepting(SchedulerError):
    """No submissions are taken until an operator says so."""


class BreakerOpen(SchedulerError):
    """The lane's circuit breaker is open, and the job asked to fail fast."""

    def __init__(self, lane: str, retry_after: datetime.timedelta) -> None:
        super().__init__(f"The circuit breaker of the lane {lane} is open, and fail_fast is set.")
        self.lane = lane
        self.retry_after = retry_after


class AnswerTooLarge(SchedulerError):
    """The answer would be larger than clients accept."""

    def __init__(self, fitting: int) -> None:
        super().__init__(f"The answer is too large; the first {fitting} ids fit, ask for the others apart.")
        self.fitting = fitting


class ImageNotAssigned(SchedulerError):
    """No running job of that id uses the image."""


class ProtocolViolation(SchedulerError):
    """The peer broke the rules of the Work stream."""


class StaleHello(ProtocolViolation):
    """A later hello of the same executor was stored before this one."""

    def __init__(self, executor_id: str) -> None:
        super().__init__(f"The executor {executor_id} has dialled again meanwhile.")


class Stopping(SchedulerError):
    """This scheduler is going away; another one, or this one after its restart, answers."""


class StoreUnavailable(SchedulerError):
    """The database did not answer in time."""


class WrongRevision(SchedulerError):
    """The database was made by another version."""
