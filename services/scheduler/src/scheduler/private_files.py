"""Files that hold secrets: written whole or not at all, for their owner alone, and by one process at a time."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o600, uid: int | None = None) -> None:
    """Put the content in place at once, also through a crash. Raises OSError.

    Args:
        path: In a folder that exists; a file there is replaced.
        content: All of it.
        mode: The permissions.
        uid: Whose file it will be; None leaves it to this process's user.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    made = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is open already
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            if uid is not None:
                os.fchown(descriptor, uid, -1)
            os.fsync(descriptor)
        made.replace(path)
    except BaseException:
        made.unlink()
        raise
    _sync(path.parent)


def make_folder(path: Path, *, uid: int | None = None) -> None:
    """Make sure of a folder that only its owner may look into. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    found = path.stat()
    # In this order: who gives a folder away may not change it any more.
    if found.st_mode & 0o777 != 0o700:
        path.chmod(0o700)
    if uid is not None and found.st_uid != uid:
        os.chown(path, uid, -1)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs; wait for whoever else holds it. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
