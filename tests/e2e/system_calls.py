"""What end-to-end tests say again and again."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from devkit.stack import Stack

SAMPLES = Path(__file__).parents[2] / "samples"
SCHEMA = '{"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}'

StartStack = Callable[..., AbstractAsyncContextManager[Stack]]


def details(error: grpc.aio.AioRpcError) -> dict[type[Message], Any]:
    """Return the google.rpc.Status details of an error by their type."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, f"no details: {error}"
    found: dict[type[Message], Any] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                found[kind] = detail
    return found


def bad_paths(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the paths of the bad fields that an error names."""
    bad = details(error)[error_details_pb2.BadRequest]
    return [violation.field for violation in bad.field_violations]
