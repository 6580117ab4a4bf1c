"""Task groups whose failure is one exception of ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def task_group(expected: type[Exception]) -> AsyncIterator[asyncio.TaskGroup]:
    """As asyncio.TaskGroup, but a failure of the expected kind leaves as itself, not in a group.

    `except*` cannot do it: before Python 3.11.4 what it raises comes in a group of its own. Unexpected failures leave
    in their group.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except ExceptionGroup as group:
        matching, rest = group.split(expected)
        if rest is not None or matching is None:
            raise
        raise _first(matching) from None


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
