"""Ends a call from outside of its handler: one whose peer does not read, or must not be served any longer.

To cancel the handler's task would not do: a handler that waits for its peer to take a message is cancelled outside of
its own code, gRPC sends no status then, and the peer waits for ever.
"""

import asyncio
import contextlib
from typing import Any

import grpc
from grpc_status import rpc_status

from runtime.rpc_errors import RpcError

_SECONDS = 1.0
"""How long a peer that does not read is waited for; the status reaches it, should it ever read on."""


async def end_call(context: Any, task: asyncio.Task[Any], error: RpcError) -> None:
    """End the call of this context with an error, and then the task that serves it."""
    try:
        with contextlib.suppress(grpc.aio.BaseError, TimeoutError):
            # AbortError, a BaseError, is how abort says that it has.
            async with asyncio.timeout(_SECONDS):
                await context.abort_with_status(rpc_status.to_status(error.status()))
    finally:
        task.cancel()
