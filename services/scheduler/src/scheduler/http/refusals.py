"""Domain errors as HTTP answers, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler import errors

STORE_RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer without a job.

    Attributes:
        status: Of HTTP.
        reason: UPPER_SNAKE, for programs; gRPC has the same.
        message: For people.
    """

    status: int
    reason: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_denial(self) -> bool:
        """Whether it is the caller who may not see the job."""
        return self.status in {401, 403}


def refusal_of(error: errors.SchedulerError) -> Refusal | None:  # noqa: PLR0911 - a table, one row an error
    """Return the answer to a domain error, or None for one that no reader of a job can cause."""
    message = str(error)
    match error:
        case errors.InvalidRequest():
            return Refusal(status=400, reason="INVALID_REQUEST", message=f"The request is invalid: {message}.")
        case errors.KeyMissing():
            return Refusal(
                status=401,
                reason="KEY_MISSING",
                message="A job is shown only to an API key (`Authorization: Bearer …`) or to a link that was made for it.",
                headers={"www-authenticate": "Bearer"},
            )
        case errors.KeyInvalid():
            challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
            return Refusal(status=401, reason="KEY_INVALID", message=message, headers=challenge)
        case errors.RoleMissing():
            return Refusal(status=403, reason="ROLE_MISSING", message=message)
        case errors.LinkInvalid():
            return Refusal(status=403, reason="LINK_INVALID", message=message)
        case errors.LinkExpired():
            return Refusal(status=403, reason="LINK_EXPIRED", message=message)
        case errors.JobNotFound():
            return Refusal(status=404, reason="JOB_NOT_FOUND", message=message)
        case errors.StoreUnavailable():
            return Refusal(
                status=503,
                reason="STORE_UNAVAILABLE",
                message="The database is away; try again in a moment.",
                headers={"retry-after": str(STORE_RETRY_SECONDS)},
            )
        case _:
            return None
