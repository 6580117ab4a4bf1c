"""Ends streams whose peers do not take what they asked for.

A handler that yields a message gets on when gRPC has passed it to the peer, whose flow control holds back what it does
not read. Until then the stream keeps its memory, its place among the open calls, and whatever it follows.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

from runtime.clock import Clock
from runtime.ending import end_call
from runtime.rpc_errors import RpcError

Message = TypeVar("Message")

_LOOKS = 10
"""In the time that a message may wait."""


@dataclass(frozen=True, slots=True, eq=False)
class _Wait:
    """A message that its peer has not taken yet."""

    context: Any
    task: asyncio.Task[Any]
    since: float
    error: RpcError


class SlowReaders:
    """Wrap what a stream sends with `watched`; `run` ends those that wait for longer than `seconds`.

    Attributes:
        seconds: How long a message may wait for its peer.
    """

    def __init__(self, *, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._waiting: set[_Wait] = set()

    async def watched(self, messages: AsyncIterator[Message], context: Any, error: RpcError) -> AsyncIterator[Message]:
        """Yield the messages of the call of this context, which ends with the error if one is not taken in time."""
        task = asyncio.current_task()
        assert task is not None
        async for message in messages:
            wait = _Wait(context, task, self._clock.monotonic(), error)
            self._waiting.add(wait)
            try:
                yield message
            finally:
                self._waiting.discard(wait)

    async def run(self) -> None:
        """End slow streams until cancelled."""
        while True:
            await self._clock.sleep(self.seconds / _LOOKS)
            too_old = self._clock.monotonic() - self.seconds
            slow = [wait for wait in self._waiting if wait.since < too_old]
            async with asyncio.TaskGroup() as tasks:
                for wait in slow:
                    self._waiting.discard(wait)
                    tasks.create_task(end_call(wait.context, wait.task, wait.error))
