"""What a call can end with.

VisionJobsError
├── JobFailed                 the job ended without a result
├── UnexpectedAnswer          the scheduler said something that this client does not understand
└── RpcError                  the call failed; any status that has no class of its own
    ├── Unauthenticated       the call brought no key, or one that does not work
    ├── PermissionDenied      the key may not do this
    ├── InvalidArgument       `violations` name the bad fields
    ├── NotFound
    ├── AlreadyExists         the request_id belongs to a job with another spec
    ├── FailedPrecondition    the state of the job or key does not allow it
    ├── ResourceExhausted     too large, too fast or too much at once
    ├── Unavailable           the scheduler cannot be reached, or cannot serve now
    └── DeadlineExceeded      no answer in time
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from visionjobs.jobs import Job


class VisionJobsError(Exception):
    """Base of all."""


class JobFailed(VisionJobsError):
    """The job ended FAILED, CANCELLED or EXPIRED; `job` says why."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.kind}: {job.error.message}" if job.error else ""
        super().__init__(f"The job {job.job_id} ended {job.state}{reason}")
        self.job = job


class UnexpectedAnswer(VisionJobsError):
    """The scheduler said something that this client does not understand, most likely because it is newer."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its dotted path from the request's root, and what is wrong with it."""

    path: str
    description: str


class RpcError(VisionJobsError):
    """The call failed.

    Attributes:
        code: The canonical name, such as INTERNAL.
        message: For people.
        reason: UPPER_SNAKE, for programs. Empty if the error was not made by a scheduler but on the way to it.
        metadata: The dynamic parts of the message.
        violations: The bad fields of an InvalidArgument.
        retry_after: When the scheduler thinks it is worth to try again.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


class Unauthenticated(RpcError):
    """The scheduler wants a key and got none, or one that is unknown, revoked or replaced."""


class PermissionDenied(RpcError):
    """The key's role does not allow the call, or the key may not ask for such urgent work."""


class InvalidArgument(RpcError):
    """Some fields are bad; nothing was stored."""


class NotFound(RpcError):
    """The caller has no such job, or there is no such lane or key."""


class AlreadyExists(RpcError):
    """The request_id belongs to a job with another spec."""


class FailedPrecondition(RpcError):
    """What is there does not allow it: the job has ended or has not, the key is revoked, or is the last of its kind."""


class ResourceExhausted(RpcError):
    """The message is too large, or more was asked than the client may.

    Its `reason` says which: RATE_LIMITED, after it was waited for within the timeout; QUEUE_FULL, with `retry_after`;
    TOO_MANY_WATCHES; TOO_MANY_CALLS; ANSWER_TOO_LARGE; empty for a message over 32 MiB.
    """


class Unavailable(RpcError):
    """The scheduler cannot be reached, or cannot serve now."""


class DeadlineExceeded(RpcError):
    """No answer came in time."""
