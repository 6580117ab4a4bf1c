"""A boot's directory, and its lock, which the operating system lets go of when the process ends, however that happens.

spool/lock               held while a directory is made or looked at: nobody adopts one that is just being made
spool/{boot}/lock        held by the boot, or by the boot that adopted its outcomes
spool/{boot}/000001.log  a segment
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_LOCK = "lock"
_SEGMENT = ".log"


class BootFolder:
    """A directory that this process holds."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def segments(self) -> list[Path]:
        """Return the segments, oldest first. Raises OSError."""
        return sorted(path for path in self.path.iterdir() if path.suffix == _SEGMENT)

    def new_segment(self, number: int) -> Path:
        """Return the path of a segment that does not exist yet; numbers rise."""
        return self.path / f"{number:06}{_SEGMENT}"

    def sync(self) -> None:
        """Make the names in the directory durable. Raises OSError."""
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self) -> None:
        """Remove the directory, which has no segment any more, and let go of it."""
        with contextlib.suppress(OSError):
            (self.path / _LOCK).unlink(missing_ok=True)
            self.path.rmdir()
        self.let_go()

    def let_go(self) -> None:
        """Leave the directory to others."""
        os.close(self._lock)


@contextlib.contextmanager
def nobody_else_looks(root: Path) -> Iterator[None]:
    """Hold the lock of the whole spool while the block runs. Makes the spool if it is absent. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def make(root: Path, name: str) -> BootFolder:
    """Make a directory and hold it. Raises OSError."""
    path = root / name
    path.mkdir(exist_ok=True)
    folder = _hold(path)
    if folder is None:
        raise OSError(f"{path} belongs to another process.")
    return folder


def hold_ownerless(path: Path) -> BootFolder | None:
    """Hold the directory of a boot that lives no more; None if the path is not that. Raises OSError."""
    return _hold(path) if path.is_dir() and _is_of_a_boot(path) else None


def _is_of_a_boot(path: Path) -> bool:
    """Return whether a boot has made it, not a file system, as lost+found, or a person."""
    return any(each.name == _LOCK or each.suffix == _SEGMENT for each in path.iterdir())


def _hold(path: Path) -> BootFolder | None:
    lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return BootFolder(path, lock)
