"""Task groups whose failure is one exception of ours."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


@contextlib.asynccontextmanager
async def task_group(*expected: type[Exception]) -> AsyncIterator[asyncio.TaskGroup]:
    """As asyncio.TaskGroup, but a failure of an expected kind leaves as itself, not in a group.

    `except*` cannot do it: before Python 3.11.4 what it raises comes in a group of its own. Unexpected failures leave
    in their group.
    """
    try:
        async with _Group() as tasks:
            yield tasks
            # Not in __aexit__: before Python 3.11.4 a task that fails while that waits leaves its parent counted as
            # cancelled, and the parent's next asyncio.timeout would let a CancelledError out.
            while tasks.running:
                await asyncio.wait(tasks.running)
    except ExceptionGroup as group:
        matching, rest = group.split(expected)
        if rest is not None or matching is None:
            raise
        raise _first(matching) from None


class _Group(asyncio.TaskGroup):
    """Knows which of its tasks run."""

    def __init__(self) -> None:
        super().__init__()
        self.running: set[asyncio.Task[Any]] = set()

    def create_task(
        self,
        coro: Generator[Any, None, Result] | Coroutine[Any, Any, Result],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Result]:
        task = super().create_task(coro, name=name, context=context)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
