"""Turns a failed gRPC call into the error tree, with what google.rpc.Status tells beside the code."""

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from visionjobs import errors


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the package's errors in place of gRPC's."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_grpc(error) from error


def from_grpc(error: grpc.aio.AioRpcError) -> errors.RpcError:
    """Return the error of the tree that says the same."""
    code = error.code().name
    details: dict[str, Any] = {}
    for packed in _status(error).details:
        with contextlib.suppress(DecodeError):
            details |= _detail(packed)
    return _class_of(code)(error.details() or code, code=code, **details)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Return the details, or none where there are none: what gRPC or a proxy refuses carries none that can be read."""
    try:
        # It reads the three methods that an AioRpcError has too.
        return rpc_status.from_call(error) or status_pb2.Status()  # type: ignore[arg-type]  # the stubs ask for a Call
    except (ValueError, DecodeError):
        return status_pb2.Status()


def _detail(packed: any_pb2.Any) -> dict[str, Any]:
    """Return what one detail adds to an error. Raises DecodeError."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    if packed.Unpack(info):
        return {"reason": info.reason, "metadata": dict(info.metadata)}
    if packed.Unpack(bad):
        return {"violations": [errors.Violation(v.field, v.description) for v in bad.field_violations]}
    if packed.Unpack(retry):
        return {"retry_after": retry.retry_delay.ToTimedelta()}
    return {}


def _class_of(code: str) -> type[errors.RpcError]:
    classes: dict[str, type[errors.RpcError]] = {
        "UNAUTHENTICATED": errors.Unauthenticated,
        "PERMISSION_DENIED": errors.PermissionDenied,
        "INVALID_ARGUMENT": errors.InvalidArgument,
        "NOT_FOUND": errors.NotFound,
        "ALREADY_EXISTS": errors.AlreadyExists,
        "FAILED_PRECONDITION": errors.FailedPrecondition,
        "RESOURCE_EXHAUSTED": errors.ResourceExhausted,
        "UNAVAILABLE": errors.Unavailable,
        # Nobody here cancelled it, else it would be an asyncio.CancelledError: a server that stops does so to calls that
        # it has not begun.
        "CANCELLED": errors.Unavailable,
        "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    }
    return classes.get(code, errors.RpcError)
