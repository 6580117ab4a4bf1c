"""What callers are told that do not read what they asked for, or stop in the middle of an upload."""

import grpc

from runtime.rpc_errors import RpcError
from scheduler.rpc.access import EXECUTORS


def not_reading(method: str) -> RpcError:
    """Return the end of a stream whose caller does not read; executors dial again."""
    if method.startswith(f"/{EXECUTORS}/"):
        return RpcError(
            grpc.StatusCode.UNAVAILABLE, "STREAM_CLOSED", "The executor did not read what it was sent; dial again."
        )
    return RpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER", "The caller did not read what it asked for; ask again."
    )


def upload_stalled() -> RpcError:
    """Return the end of an upload of which nothing comes any more."""
    return RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_STALLED", "No chunk came for a long time.")
