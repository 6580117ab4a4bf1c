"""What can go wrong in a use case.

SchedulerError
├── InvalidRequest        bad fields, each with its path
├── JobNotFound
├── RequestIdReused       same request_id, another spec
├── JobIsFinal            it has ended, and cannot be stopped
├── JobIsNotFinal         it has not ended, and cannot be done again
├── JobPurged             a job cannot be done again whose content was removed
├── ImagesGone            a job cannot be done again without its images
├── ImagesMissing         a job cannot be stored without its images
├── LaneNotFound
├── KeyMissing            the call needs a key
├── KeyInvalid            the key is unknown, revoked or expired
├── RoleMissing           the key may not make this call
├── PriorityNotAllowed    the key may not ask for such urgent work
├── RateLimited           the client submits too fast
├── QueueFull             the client has too many jobs in the queue
├── TooManyCalls          the client has too many calls of a kind open
├── Overloaded            this scheduler takes no submissions for a moment
├── LinkInvalid           the link was not made here, or was made for another job
├── LinkExpired
├── KeyNotFound
├── KeyIsRevoked          a key that has ended gets no new secret
├── LastAdminKey          without it nobody could make another one
├── NotAccepting          an operator closed the door for submissions
├── BreakerOpen           the submission wished to fail rather than to wait
├── AnswerTooLarge        ask for fewer jobs
├── UsageTooLarge         ask for fewer days or groups
├── ImageNotAssigned      an executor asks for an image that none of its jobs uses
├── ProtocolViolation     a peer speaks the Work stream wrongly
│   ├── StaleHello        a later hello of the executor was stored before
│   └── ExecutorNotYours  the executor's id belongs to another client
├── Stopping              this scheduler goes away
├── StoreUnavailable      the database is away, or what keeps the images
├── ImageStoreUnusable    images cannot be stored where the setting says
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


class JobPurged(SchedulerError):
    """The job's content was removed."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The job {job_id} cannot be done again: its content was removed.")
        self.job_id = job_id


class ImagesMissing(SchedulerError):
    """Images of new jobs are not stored, or not any more; nothing was stored."""

    def __init__(self, sha256s: Sequence[str]) -> None:
        shown = ", ".join(sha256s[:3]) + (f" and {len(sha256s) - 3} more" if len(sha256s) > 3 else "")
        super().__init__(f"These images are not stored: {shown}; upload them again.")
        self.sha256s = tuple(sha256s)


class LaneNotFound(SchedulerError):
    """There is no such lane."""

    def __init__(self, lane: str) -> None:
        super().__init__(f"There is no lane {lane}.")
        self.lane = lane


class KeyMissing(SchedulerError):
    """The call needs a key, and brought none."""

    def __init__(self) -> None:
        super().__init__("This call needs an API key: send it as `authorization: Bearer …`.")


class KeyInvalid(SchedulerError):
    """The key is unknown, was revoked, or was replaced by a rotation."""

    def __init__(self) -> None:
        super().__init__("The API key is unknown, revoked, or was replaced.")


class RoleMissing(SchedulerError):
    """The key's role does not allow the call."""

    def __init__(self, role: str, needed: Sequence[str]) -> None:
        allowed = f"it takes {' or '.join(needed)}" if needed else "nobody may"
        super().__init__(f"A key with the role {role} may not make this call: {allowed}.")
        self.role = role
        self.needed = tuple(needed)


class PriorityNotAllowed(SchedulerError):
    """The key may not ask for this priority."""

    def __init__(self, path: str, priority: int, allowed: int) -> None:
        super().__init__(f"{path}: this key may not ask for priority {priority}; {allowed} is its most urgent one.")
        self.path = path
        self.priority = priority
        self.allowed = allowed


class RateLimited(SchedulerError):
    """The client submits faster than it may."""

    def __init__(self, per_second: float, retry_after: datetime.timedelta) -> None:
        super().__init__(f"The client may submit {per_second:g} jobs per second.")
        self.per_second = per_second
        self.retry_after = retry_after


class QueueFull(SchedulerError):
    """The client has as many jobs in the queue as it may."""

    def __init__(self, limit: int, queued: int) -> None:
        super().__init__(f"The client may have {limit} jobs in the queue, and has {queued}.")
        self.limit = limit
        self.queued = queued


class TooManyCalls(SchedulerError):
    """The client has too many calls of a kind open on this scheduler."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"The client may have {limit} {kind} open at once on a scheduler.")
        self.kind = kind
        self.limit = limit


class Overloaded(SchedulerError):
    """This scheduler takes no submissions for a moment, so that running work does not suffer."""

    def __init__(self, why: str, retry_after: datetime.timedelta) -> None:
        super().__init__(f"The scheduler takes no submissions for a moment: {why}.")
        self.retry_after = retry_after


class LinkInvalid(SchedulerError):
    """The link was not made here, or was made for another job."""

    def __init__(self) -> None:
        super().__init__("The link is not one of this job.")


class LinkExpired(SchedulerError):
    """The link was good, and its time is over."""

    def __init__(self, expire_time: datetime.datetime) -> None:
        super().__init__(f"The link expired at {expire_time:%Y-%m-%d %H:%M:%S} UTC; ask for a new one.")
        self.expire_time = expire_time


class KeyNotFound(SchedulerError):
    """There is no such key."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no key {key_id}.")
        self.key_id = key_id


class KeyIsRevoked(SchedulerError):
    """The key has ended."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key {key_id} is revoked; make another one.")
        self.key_id = key_id


class LastAdminKey(SchedulerError):
    """It is the last admin key that works."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key {key_id} is the last admin key that works; make another one before.")
        self.key_id = key_id


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


class UsageTooLarge(SchedulerError):
    """The usage has more rows than clients accept in one answer."""

    def __init__(self) -> None:
        super().__init__("The answer is too large; ask for fewer days, or group by less.")


class ImageNotAssigned(SchedulerError):
    """No running job of that id uses the image."""


class ProtocolViolation(SchedulerError):
    """The peer broke the rules of the Work stream."""


class StaleHello(ProtocolViolation):
    """A later hello of the same executor was stored before this one."""

    def __init__(self, executor_id: str) -> None:
        super().__init__(f"The executor {executor_id} has dialled again meanwhile.")


class ExecutorNotYours(ProtocolViolation):
    """The executor's id belongs to another client's key."""

    def __init__(self, executor_id: str) -> None:
        super().__init__(f"The executor {executor_id} belongs to another client.")


class Stopping(SchedulerError):
    """This scheduler is going away; another one, or this one after its restart, answers."""


class StoreUnavailable(SchedulerError):
    """The database did not answer in time, or what keeps the images did not."""


class ImageStoreUnusable(SchedulerError):
    """Images cannot be stored where they should be."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"The setting SCHEDULER_IMAGE_STORE is wrong: images cannot be kept in {place} ({why}).")


class WrongRevision(SchedulerError):
    """The database was made by another version."""
