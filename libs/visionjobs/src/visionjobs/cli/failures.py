"""What went wrong, as an exit code for scripts and a sentence for people."""

from enum import IntEnum

from visionjobs.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
    VisionJobsError,
)

_WITH_A_KEY = (
    "Set VISIONJOBS_API_KEY to a key that may, or VISIONJOBS_API_KEY_FILE to the path of a file that holds one."
)


class ExitCode(IntEnum):
    """What a script can tell apart."""

    DONE = 0
    NO_RESULT = 1
    WRONG_INPUT = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    REFUSED = 5
    INTERRUPTED = 130
    # What a shell reports for a program that the signal ended.
    BROKEN_PIPE = 141


def exit_code(error: VisionJobsError) -> ExitCode:
    """Return what the error means to a script."""
    match error:
        case InvalidArgument():
            return ExitCode.WRONG_INPUT
        case NotFound():
            return ExitCode.NOT_FOUND
        case Unavailable() | DeadlineExceeded():
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.REFUSED


def sentence(error: VisionJobsError, address: str) -> str:
    """Return what the error means to a person."""
    match error:
        case InvalidArgument(violations=[_, *_] as violations):
            lines = [f"  {violation.path}: {violation.description}" for violation in violations]
            return "\n".join(["The scheduler refused the input:", *lines])
        case Unauthenticated(code=code) | PermissionDenied(code=code):
            # What the key may do is enough for another priority.
            hint = "" if error.reason == "PRIORITY_NOT_ALLOWED" else f"\n{_WITH_A_KEY}"
            return f"The scheduler at {address} refused the call: {code}: {error}{hint}"
        case Unavailable():
            return f"The scheduler at {address} {obstacle(error)}: {error}"
        case DeadlineExceeded():
            return f"The scheduler at {address} did not answer in time."
        case RpcError(code=code) if not isinstance(error, InvalidArgument | NotFound | FailedPrecondition):
            return f"The scheduler at {address} refused the call: {code}: {error}"
        case _:
            return str(error)


def obstacle(error: RpcError) -> str:
    """Return what keeps the scheduler from taking the call for the moment."""
    if isinstance(error, ResourceExhausted):
        return "takes no more jobs of this client for the moment"
    return "cannot serve now" if error.reason else "cannot be reached"
