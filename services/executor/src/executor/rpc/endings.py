"""What the end of a stream means: an outage that passes, or a distrust that somebody must mend."""

import grpc

from executor.ports import LinkBroken, LinkRefused
from visionjobs.rpc_errors import from_grpc

_REFUSING = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

# How gRPC words failed handshakes, and what to tell people.
_DISTRUSTS = (
    ("CERTIFICATE_VERIFY_FAILED", "The scheduler's certificate is not signed by a trusted authority or has expired"),
    ("Hostname Verification Check failed", "The scheduler's certificate is for another host"),
    ("WRONG_VERSION_NUMBER", "The scheduler serves without TLS"),
)


def broken(error: grpc.aio.AioRpcError) -> LinkBroken:
    """Return what the use cases know it by."""
    code, details = error.code(), error.details() or ""
    message = f"{code.name}: {details}"
    if code in _REFUSING:
        return LinkRefused(from_grpc(error).reason or code.name, message)
    for words, meaning in _DISTRUSTS:
        if code is grpc.StatusCode.UNAVAILABLE and words in details:
            return LinkRefused("TLS_DISTRUST", f"{meaning}. {message}")
    return LinkBroken(message)
