"""Outcomes on disk until a scheduler has stored them: what was paid for survives a crash.

One directory a boot, held by a lock that the operating system lets go of when the process ends, however that happens.
In it segments to which records are only appended; a segment whose records are all acknowledged is deleted. Each record
carries its length and CRC-32, so that a torn tail is seen and left alone: its outcome was never reported.
"""

import asyncio
import fcntl
import io
import os
import shutil
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from executor.work import AttemptId

SEGMENT_BYTES = 8 * 1024 * 1024

_HEADER = struct.Struct(">II")  # length of the body, CRC-32 of the body
_ATTEMPT = struct.Struct(">36sI")  # job id, attempt number
_LOCK = "lock"
_SUFFIX = ".spool"


class DiskSpool:
    """Implements ports.Spool. Its methods must not run concurrently with each other; one reporter calls them."""

    def __init__(self, folder: Path, *, boot: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Take a directory of its own below the folder, which is made if it is absent.

        Args:
            folder: Shared by all executors of a machine.
            boot: Names this boot; unique.
            segment_bytes: Size after which a new segment is begun.

        Raises:
            OSError: The folder cannot be written.
        """
        self._folder = folder
        self._own = folder / boot
        # Locked before it has its name: a starting executor that looks for the dead must not take it for one.
        unnamed = folder / f".{boot}"
        unnamed.mkdir(parents=True)
        self._lock = _locked(unnamed)
        unnamed.rename(self._own)
        self._segment_bytes = segment_bytes
        self._count = 0
        self._current: io.FileIO | None = None
        self._outstanding: dict[Path, set[AttemptId]] = {}
        self._segment_of: dict[AttemptId, Path] = {}

    async def append(self, records: Sequence[tuple[AttemptId, bytes]]) -> None:
        await asyncio.to_thread(self._append, records)

    async def acknowledge(self, attempts: Collection[AttemptId]) -> None:
        empty = self._forget(attempts)
        if empty:
            await asyncio.to_thread(_delete, empty)

    async def adopt(self) -> Sequence[tuple[AttemptId, bytes]]:
        return await asyncio.to_thread(self._adopt)

    def close(self) -> None:
        """Let go of the directory; it goes too if nothing is left in it."""
        if self._current is not None:
            self._current.close()
            self._current = None
        if not self._segment_of:
            shutil.rmtree(self._own, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _current_path(self) -> Path | None:
        return Path(str(self._current.name)) if self._current else None

    def _append(self, records: Sequence[tuple[AttemptId, bytes]]) -> None:
        segment = self._open_segment()
        segment.write(b"".join(_record(attempt, payload) for attempt, payload in records))
        os.fdatasync(segment.fileno())
        path = Path(str(segment.name))
        for attempt, _ in records:
            self._segment_of[attempt] = path
            self._outstanding[path].add(attempt)

    def _open_segment(self) -> io.FileIO:
        if self._current is not None and self._current.tell() < self._segment_bytes:
            return self._current
        if self._current is not None:
            full = self._current_path
            self._current.close()
            if full is not None and not self._outstanding[full]:
                _delete([full])
                del self._outstanding[full]
        self._count += 1
        path = self._own / f"{self._count:08}{_SUFFIX}"
        self._current = io.FileIO(path, "x")
        self._outstanding[path] = set()
        _sync_folder(self._own)
        return self._current

    def _forget(self, attempts: Collection[AttemptId]) -> list[Path]:
        """Return the segments that are empty now."""
        empty = []
        for attempt in attempts:
            segment = self._segment_of.pop(attempt, None)
            if segment is None:
                continue
            left = self._outstanding[segment]
            left.discard(attempt)
            if not left and segment != self._current_path:
                del self._outstanding[segment]
                empty.append(segment)
        return empty

    def _adopt(self) -> list[tuple[AttemptId, bytes]]:
        adopted: dict[AttemptId, bytes] = {}
        for sibling in sorted(self._folder.iterdir()):
            if sibling == self._own or not sibling.is_dir() or sibling.name.startswith("."):
                continue
            lock = _locked(sibling)
            if lock is None:
                continue
            try:
                left = dict(_read(sibling))
                if left:
                    self._append(list(left.items()))
                    adopted |= left
                # Only now: the records are on disk here.
                shutil.rmtree(sibling, ignore_errors=True)
            finally:
                os.close(lock)
        return list(adopted.items())


def _record(attempt: AttemptId, payload: bytes) -> bytes:
    body = _ATTEMPT.pack(attempt.job_id.encode(), attempt.attempt) + payload
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def _read(folder: Path) -> Iterator[tuple[AttemptId, bytes]]:
    for segment in sorted(folder.glob(f"*{_SUFFIX}")):
        data = segment.read_bytes()
        start = 0
        while start + _HEADER.size <= len(data):
            length, checksum = _HEADER.unpack_from(data, start)
            body = data[start + _HEADER.size : start + _HEADER.size + length]
            if len(body) < max(length, _ATTEMPT.size) or zlib.crc32(body) != checksum:
                # Torn by the crash: what follows was never on disk for certain, and so never reported.
                break
            job_id, number = _ATTEMPT.unpack_from(body)
            yield AttemptId(job_id.decode(), number), body[_ATTEMPT.size :]
            start += _HEADER.size + length


def _locked(folder: Path) -> int | None:
    """Return the file descriptor that holds the directory's lock, or None if somebody else holds it."""
    try:
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _delete(segments: Collection[Path]) -> None:
    for segment in segments:
        segment.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable, not only its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
