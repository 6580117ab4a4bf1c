"""Waits no longer for a peer's next message than is good for what the call holds meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from runtime.rpc_errors import RpcError

Message = TypeVar("Message")


async def arriving(
    messages: AsyncIterator[Message], seconds: float, error: Callable[[], RpcError]
) -> AsyncIterator[Message]:
    """Yield the messages; raise the error if the next one, or the end, does not come within this time."""
    iterator = aiter(messages)
    while True:
        try:
            async with asyncio.timeout(seconds):
                message = await anext(iterator, None)
        except TimeoutError:
            raise error() from None
        if message is None:
            return
        yield message
