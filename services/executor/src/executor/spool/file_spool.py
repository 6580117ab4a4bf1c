"""The spool without blocking: its files are touched by one thread of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from executor.ports import SpoolUnwritable
from executor.spool.files import SpoolFiles
from executor.work import AttemptId

_Result = TypeVar("_Result")


class FileSpool:
    """Implements ports.Spool."""

    def __init__(self, files: SpoolFiles, disk: ThreadPoolExecutor) -> None:
        self._files = files
        self._disk = disk

    async def open(self) -> Sequence[bytes]:
        return await self._run(self._files.open)

    async def write(self, records: Sequence[tuple[AttemptId, bytes]], *, forget: Collection[AttemptId]) -> None:
        def write() -> None:
            self._files.append(records)
            self._files.forget(forget)

        await self._run(write)

    async def check(self) -> None:
        await self._run(self._files.check)

    async def _run(self, step: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, step)
        except OSError as error:
            raise SpoolUnwritable(str(error)) from None


@contextlib.asynccontextmanager
async def open_spool(files: SpoolFiles) -> AsyncIterator[FileSpool]:
    """Use the files while the block runs, then let go of them."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool") as disk:
        try:
            yield FileSpool(files, disk)
        finally:
            await asyncio.get_running_loop().run_in_executor(disk, files.close)
