"""Files that operators replace while a program runs: read anew when they change, and kept while they make no sense."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from runtime import logs

Content = TypeVar("Content")

_Stamp = tuple[tuple[int, int, int] | None, ...]

_log = logs.get_logger(__name__)


class UnusableFile(Exception):
    """A file cannot be read or makes no sense; the message is a sentence that names the setting."""


class Reloaded(Generic[Content]):
    """What some files held when they were last in order. May be asked by several threads.

    Attributes:
        role: What the files are for, in a log line or a metric.
    """

    def __init__(self, role: str, paths: Sequence[Path], read: Callable[[], Content]) -> None:
        """Read the files for the first time.

        Args:
            role: What the files are for.
            paths: What `read` reads; a change of one of them is seen by its time, size or identity.
            read: Raises UnusableFile.

        Raises:
            UnusableFile: The files are not in order.
        """
        self.role = role
        self._paths = tuple(paths)
        self._read = read
        self._lock = threading.Lock()
        self._warned = False
        # Before reading: what changes meanwhile is read again.
        self._stamp = _stamp(self._paths)
        self._content = read()

    def current(self) -> Content:
        """Return the content, of files that have changed since the new one."""
        with self._lock:
            stamp = _stamp(self._paths)
            if stamp != self._stamp:
                self._reload(stamp)
            return self._content

    def _reload(self, stamp: _Stamp) -> None:
        try:
            self._content = self._read()
        except UnusableFile as error:
            # Asked again next time: half of a pair is written before the other.
            if not self._warned:
                _log.warning("files_not_reloaded", role=self.role, reason=str(error))
            self._warned = True
            return
        self._stamp = stamp
        self._warned = False
        _log.info("files_reloaded", role=self.role)


def _stamp(paths: Sequence[Path]) -> _Stamp:
    return tuple(_stamp_of(path) for path in paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
