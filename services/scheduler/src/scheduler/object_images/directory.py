"""Objects as files of a directory, which several schedulers may share.

A file is written beside its place and moved there, so that nobody ever sees a part of it; what a crash leaves of that
goes with the object. A marker tells the directory from the empty one that is seen while its disk is not mounted.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from scheduler.object_images.places import PlaceFailed

_MARKER = ".visionjobs-images"
_THREADS = 8

Answer = TypeVar("Answer")


class Directory:
    """Implements Place. A disk that hangs holds its threads, not those of others."""

    def __init__(self, url: str) -> None:
        self._root = Path(unquote(urlsplit(url).path))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        self._free = asyncio.Semaphore(_THREADS)

    async def prepare(self) -> None:
        await self._run(self._prepare)

    async def put(self, name: str, data: bytes) -> None:
        await self._run(lambda: self._put(name, data))

    async def get(self, name: str) -> bytes | None:
        return await self._run(lambda: self._get(name))

    async def remove(self, name: str) -> None:
        await self._run(lambda: self._remove(name))

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        """Call in a thread; whoever gives up does not free it before it is done."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()

        def free(_: Future[Answer]) -> None:
            # A thread may outlive the loop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._free.release)

        work = self._threads.submit(call)
        work.add_done_callback(free)
        try:
            return await asyncio.wrap_future(work)
        except OSError as error:
            raise PlaceFailed(error.strerror or type(error).__name__) from None

    def _prepare(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._root / _MARKER).touch(mode=0o600)
        _sync(self._root)
        _sync(self._root.parent)

    def _put(self, name: str, data: bytes) -> None:
        path = self._root / name
        if not path.parent.is_dir():
            self._check_mounted()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync(self._root)
        part = _part(path)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
        _sync(path.parent)

    def _get(self, name: str) -> bytes | None:
        path = self._root / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if path.parent.is_dir():
                return None
            # Folders are never removed.
            raise PlaceFailed("its folder is not there") from None

    def _remove(self, name: str) -> None:
        path = self._root / name
        if not path.parent.is_dir():
            self._check_mounted()
            return
        _part(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        _sync(path.parent)

    def _check_mounted(self) -> None:
        if not (self._root / _MARKER).is_file():
            raise PlaceFailed("the directory is not there")


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
