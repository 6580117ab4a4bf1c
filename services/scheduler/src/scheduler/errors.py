"""What can go wrong in a use case.

SchedulerError
├── InvalidRequest        bad fields, each with its path
├── JobNotFound
├── RequestIdReused       same request_id, another spec
├── AnswerTooLarge        ask for fewer jobs
├── ImageNotAssigned      an executor asks for an image that none of its jobs uses
├── ProtocolViolation     a peer speaks the Work stream wrongly
├── Stopping              this scheduler goes away
├── StoreUnavailable      the database is away
└── WrongRevision         the database fits another version
"""

from collections.abc import Sequence
from dataclasses import dataclass


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


class AnswerTooLarge(SchedulerError):
    """The answer would be larger than clients accept."""

    def __init__(self, fitting: int) -> None:
        super().__init__(f"The answer is too large; the first {fitting} ids fit, ask for the others apart.")
        self.fitting = fitting


class ImageNotAssigned(SchedulerError):
    """No running job of that id uses the image."""


class ProtocolViolation(SchedulerError):
    """The peer broke the rules of the Work stream."""


class Stopping(SchedulerError):
    """This scheduler is going away; another one, or this one after its restart, answers."""


class StoreUnavailable(SchedulerError):
    """The database did not answer in time."""


class WrongRevision(SchedulerError):
    """The database was made by another version."""
