"""Repeats a call that the scheduler cannot take for the moment, until it answers or the time is up.

gRPC's service-config retry would be the library way, and does not do: it ignores google.rpc.RetryInfo, allows five
attempts at most (a scheduler that restarts or lost its database needs longer than those last), and gives up on requests
that do not fit its 256 KiB buffer, which is every image. As AIP-194 wants, UNAVAILABLE alone is
repeated, and what a server that stops makes of calls that it has not begun: it ends them as CANCELLED. A submission
over the client's rate is stored nowhere and says when there is room again, so it is repeated too; a full queue is not,
for nobody knows when it empties.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from visionjobs.errors import ResourceExhausted, RpcError, Unavailable

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# Clients that lost the same scheduler do not come back at the same instant.
JITTER = 0.2

Answer = TypeVar("Answer")
OnRetry = Callable[[RpcError, timedelta], None]


def pause_seconds(retries: int, retry_after: timedelta | None, draw: float) -> float:
    """Return how long to wait before the next attempt: never less than the scheduler asks for.

    Args:
        retries: How many there were since the last answer; the pause doubles with each, from 0.2 s to 5 s.
        retry_after: What the scheduler asks for.
        draw: In [0, 1); adds up to a fifth.
    """
    doubled = min(FIRST_PAUSE_SECONDS * 2.0 ** min(retries, 10), LONGEST_PAUSE_SECONDS)
    asked = retry_after.total_seconds() if retry_after else 0.0
    return max(doubled, asked) * (1 + JITTER * draw)


class Outage:
    """One stretch of time without an answer, which must not become longer than the timeout."""

    def __init__(self, timeout: timedelta, on_retry: OnRetry | None) -> None:
        self._timeout_seconds = timeout.total_seconds()
        self._on_retry = on_retry
        self._retries = 0
        self._deadline: float | None = self._now() + self._timeout_seconds

    @property
    def seconds_left(self) -> float:
        """How long the next attempt may take."""
        return self._timeout_seconds if self._deadline is None else self._deadline - self._now()

    async def pause(self, error: RpcError) -> None:
        """Wait until the next attempt makes sense.

        Raises:
            RpcError: The error, if there is no time left for another attempt.
        """
        if self._deadline is None:
            self._deadline = self._now() + self._timeout_seconds
        seconds = pause_seconds(self._retries, error.retry_after, secrets.randbits(53) / (1 << 53))
        if seconds >= self.seconds_left:
            raise error
        if self._on_retry is not None:
            self._on_retry(error, timedelta(seconds=seconds))
        self._retries += 1
        await asyncio.sleep(seconds)

    def end(self) -> None:
        """Note that the scheduler answered: the next failure begins a new stretch."""
        self._deadline = None
        self._retries = 0

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def repeat(attempt: Callable[[float], Awaitable[Answer]], outage: Outage, *, fail_fast: bool = False) -> Answer:
    """Call `attempt` with the seconds it may take, until its answer is not one for the moment.

    Args:
        attempt: Safe to repeat.
        outage: Holds the deadline.
        fail_fast: A refusal that the scheduler itself gave is an answer too.
    """
    while True:
        try:
            return await attempt(outage.seconds_left)
        except RpcError as error:
            if not _is_for_the_moment(error) or (fail_fast and error.reason):
                raise
            await outage.pause(error)


def _is_for_the_moment(error: RpcError) -> bool:
    too_fast = isinstance(error, ResourceExhausted) and error.reason == "RATE_LIMITED"
    return too_fast or isinstance(error, Unavailable)
