"""An event loop whose time jumps to the next timer as soon as nothing else is left to do, for tests that wait."""

import asyncio
import datetime
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

EPOCH = datetime.datetime(2026, 11, 24, 9, 0, tzinfo=datetime.UTC)


class WaitsForEver(Exception):
    """Nothing is ready, no timer is set: what the test waits for will not happen."""


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise WaitsForEver
        if not ready and timeout:
            self._jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0 s."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        return self._now

    def freeze(self, seconds: float) -> None:
        """Let time pass while nothing runs, as if the process had been stopped."""
        self._now += seconds

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class VirtualClock:
    """Implements runtime.clock.Clock on the running loop's time."""

    def now(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def freeze(seconds: float) -> None:
    """Stop the running virtual loop for so long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.freeze(seconds)


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[Parameters, Coroutine[Any, Any, Result]]) -> Callable[Parameters, Result]:
    """Let an asynchronous test run on a loop of its own in virtual time."""

    @functools.wraps(test)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return run(test(*args, **kwargs))

    return wrapped
