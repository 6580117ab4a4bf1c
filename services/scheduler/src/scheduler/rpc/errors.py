"""Domain errors as statuses, in one table."""

import datetime
from collections.abc import Sequence

import grpc

from runtime.rpc_errors import FieldViolation, RpcError
from scheduler import errors

_STORE_RETRY = datetime.timedelta(seconds=2)
_CLOSED_RETRY = datetime.timedelta(seconds=30)
_STOPPING_RETRY = datetime.timedelta(seconds=1)


# Status details travel in trailers, and clients take 8 KiB of them by default.
_DETAIL_BYTES = 4_000


def translate(error: Exception) -> RpcError | None:  # noqa: C901, PLR0911, PLR0912 - a table, one row an error
    """Return the status of a domain error, or None for anything else."""
    match error:
        case errors.InvalidRequest(violations=violations):
            return RpcError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_REQUEST",
                f"The request is invalid: {error}",
                violations=_fitting(violations),
            )
        case errors.JobNotFound(job_id=job_id):
            return RpcError(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", str(error), {"job_id": job_id})
        case errors.RequestIdReused(job_id=job_id):
            return RpcError(
                grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", str(error), {"job_id": job_id} if job_id else {}
            )
        case errors.AnswerTooLarge(fitting=fitting):
            return RpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE", str(error), {"fitting": str(fitting)}
            )
        case errors.UsageTooLarge():
            return RpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE", str(error))
        case errors.JobIsFinal(job_id=job_id, state=state):
            return RpcError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "JOB_IS_FINAL",
                str(error),
                {"job_id": job_id, "state": state.name},
            )
        case errors.JobIsNotFinal(job_id=job_id, state=state):
            return RpcError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "JOB_IS_NOT_FINAL",
                str(error),
                {"job_id": job_id, "state": state.name},
            )
        case errors.ImagesGone(job_id=job_id):
            return RpcError(grpc.StatusCode.FAILED_PRECONDITION, "IMAGES_GONE", str(error), {"job_id": job_id})
        case errors.JobPurged(job_id=job_id):
            return RpcError(grpc.StatusCode.FAILED_PRECONDITION, "JOB_PURGED", str(error), {"job_id": job_id})
        case errors.ImagesMissing():
            return RpcError(grpc.StatusCode.FAILED_PRECONDITION, "IMAGES_GONE", str(error))
        case errors.LaneNotFound(lane=lane):
            return RpcError(grpc.StatusCode.NOT_FOUND, "LANE_NOT_FOUND", str(error), {"lane": lane})
        case errors.KeyMissing():
            return RpcError(grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING", str(error))
        case errors.KeyInvalid():
            return RpcError(grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", str(error))
        case errors.RoleMissing(role=role, needed=needed):
            return RpcError(
                grpc.StatusCode.PERMISSION_DENIED,
                "ROLE_MISSING",
                str(error),
                {"role": role, "needed": ",".join(needed)},
            )
        case errors.PriorityNotAllowed(path=path, priority=priority, allowed=allowed):
            return RpcError(
                grpc.StatusCode.PERMISSION_DENIED,
                "PRIORITY_NOT_ALLOWED",
                str(error),
                {"path": path, "priority": str(priority), "allowed": str(allowed)},
            )
        case errors.ExecutorNotYours():
            return RpcError(grpc.StatusCode.PERMISSION_DENIED, "EXECUTOR_NOT_YOURS", str(error))
        case errors.KeyNotFound(key_id=key_id):
            return RpcError(grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND", str(error), {"key_id": key_id})
        case errors.KeyIsRevoked(key_id=key_id):
            return RpcError(grpc.StatusCode.FAILED_PRECONDITION, "KEY_REVOKED", str(error), {"key_id": key_id})
        case errors.LastAdminKey(key_id=key_id):
            return RpcError(grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMIN_KEY", str(error), {"key_id": key_id})
        case errors.RateLimited(per_second=per_second, retry_after=retry_after):
            return RpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "RATE_LIMITED",
                str(error),
                {"per_second": f"{per_second:g}"},
                retry_after=retry_after,
            )
        case errors.QueueFull(limit=limit, queued=queued):
            return RpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "QUEUE_FULL",
                str(error),
                {"limit": str(limit), "queued": str(queued)},
                retry_after=_CLOSED_RETRY,
            )
        case errors.TooManyCalls(kind=kind, limit=limit):
            return RpcError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"TOO_MANY_{kind.upper()}", str(error), {"limit": str(limit)}
            )
        case errors.Overloaded(retry_after=retry_after):
            return RpcError(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", str(error), retry_after=retry_after)
        case errors.NotAccepting():
            return RpcError(grpc.StatusCode.UNAVAILABLE, "NOT_ACCEPTING", str(error), retry_after=_CLOSED_RETRY)
        case errors.BreakerOpen(lane=lane, retry_after=retry_after):
            return RpcError(
                grpc.StatusCode.UNAVAILABLE,
                "CIRCUIT_BREAKER_OPEN",
                str(error),
                {"lane": lane},
                retry_after=retry_after,
            )
        case errors.ImageNotAssigned():
            return RpcError(grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_ASSIGNED", str(error))
        case errors.ProtocolViolation():
            return RpcError(grpc.StatusCode.INVALID_ARGUMENT, "PROTOCOL_VIOLATION", str(error))
        case errors.Stopping():
            return RpcError(grpc.StatusCode.UNAVAILABLE, "STOPPING", str(error), retry_after=_STOPPING_RETRY)
        case errors.StoreUnavailable():
            return RpcError(
                grpc.StatusCode.UNAVAILABLE,
                "STORE_UNAVAILABLE",
                "The database is away; nothing was accepted that was not acknowledged.",
                retry_after=_STORE_RETRY,
            )
        case _:
            return None


def _fitting(violations: Sequence[errors.Violation]) -> list[FieldViolation]:
    """Return as many violations as an answer can carry, the first ones."""
    fitting, size = [], 0
    for violation in violations:
        description = violation.description[: _DETAIL_BYTES // 4]
        size += len(violation.path.encode()) + len(description.encode()) + 8
        if size > _DETAIL_BYTES:
            break
        fitting.append(FieldViolation(violation.path, description))
    return fitting
