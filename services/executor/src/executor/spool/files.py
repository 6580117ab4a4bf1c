"""The spool's files: appended to in batches, deleted as soon as nothing in them is needed. Everything here blocks."""

import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from executor.spool import folder as folders
from executor.spool.folder import BootFolder
from executor.spool.records import frame, parse
from executor.work import AttemptId
from runtime import logs

MAX_SEGMENT_BYTES = 8 * 1024 * 1024

_log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Segment:
    """A file, and the attempts in it that nobody has acknowledged."""

    path: Path
    folder: BootFolder
    needed: set[AttemptId] = field(default_factory=set)


class SpoolFiles:
    """One boot's directory, and those it adopted. One caller at a time; every method raises OSError."""

    def __init__(
        self,
        root: Path,
        *,
        boot: str,
        attempt_id: Callable[[bytes], AttemptId],
        max_segment_bytes: int = MAX_SEGMENT_BYTES,
    ) -> None:
        """Prepare; nothing is touched yet.

        Args:
            root: Shared by the executors of a machine.
            boot: Names this boot, and nobody else.
            attempt_id: Reads whose record it is; raises ValueError if it is none.
            max_segment_bytes: After which a new segment is begun.
        """
        self._root = root
        self._boot = boot
        self._attempt_id = attempt_id
        self._max_segment_bytes = max_segment_bytes
        self._own: BootFolder | None = None
        self._segments: list[_Segment] = []
        # Told of once.
        self._unreadable: set[Path] = set()
        self._current: _Segment | None = None
        self._file = -1
        self._size = 0
        self._number = 0

    def open(self) -> list[bytes]:
        """Take a directory, and adopt what dead boots left behind: return their records."""
        with folders.nobody_else_looks(self._root):
            if self._own is None:
                self._own = folders.make(self._root, self._boot)
            return [record for path in sorted(self._root.iterdir()) for record in self._adopt(path)]

    def append(self, records: Sequence[tuple[AttemptId, bytes]]) -> None:
        """Keep records; they are durable when this returns. After an error none of them is kept for sure."""
        if not records:
            return
        segment = self._writable_segment()
        data = frame(record for _, record in records)
        self._write(data)
        self._size += len(data)
        segment.needed.update(attempt_id for attempt_id, _ in records)

    def forget(self, attempt_ids: Collection[AttemptId]) -> None:
        """Let go of acknowledged attempts; a file in which nothing is needed any more is deleted, or emptied."""
        if not attempt_ids:
            return
        for segment in self._segments:
            segment.needed.difference_update(attempt_ids)
        self._delete_unneeded()

    def check(self) -> None:
        """Prove that records can be written, in a new file."""
        self._close_current()
        self._writable_segment()
        self._write(b"\0")
        os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Let go of every directory; one in which nothing is needed goes with it."""
        self._close_current()
        if self._own is not None:
            if any(segment.folder is self._own for segment in self._segments):
                self._own.let_go()
            else:
                self._own.remove()
            self._own = None
        for folder in {id(segment.folder): segment.folder for segment in self._segments}.values():
            if folder.path.name != self._boot:
                folder.let_go()
        self._segments = []

    def _adopt(self, path: Path) -> list[bytes]:
        """Take over what a dead boot left behind, if the directory is that, and return its records."""
        try:
            folder = folders.hold_ownerless(path)
        except OSError as error:
            self._note_unreadable(path, error)
            return []
        if folder is None:
            return []
        try:
            segments = [_Segment(each, folder) for each in folder.segments()]
            records = [record for segment in segments for record in self._read(segment)]
        except OSError as error:
            self._note_unreadable(path, error)
            folder.let_go()
            return []
        _log.info("spool_adopted", folder=path.name, outcomes=len(records))
        self._keep_adopted(folder, segments)
        return records

    def _keep_adopted(self, folder: BootFolder, segments: Sequence[_Segment]) -> None:
        if not segments:
            folder.remove()
            return
        self._segments += segments
        # What cannot be deleted now is tried again after the next acknowledgement.
        with contextlib.suppress(OSError):
            self._delete_unneeded()

    def _note_unreadable(self, path: Path, error: OSError) -> None:
        """What cannot be read must not keep this boot from its own work; the next one may try again."""
        if path not in self._unreadable:
            self._unreadable.add(path)
            _log.error("spool_unreadable", folder=str(path), error=str(error))

    def _read(self, segment: _Segment) -> list[bytes]:
        payloads, torn = parse(segment.path.read_bytes())
        if torn:
            _log.warning("spool_torn", segment=str(segment.path), bytes=torn)
        records = []
        for payload in payloads:
            try:
                segment.needed.add(self._attempt_id(payload))
            except ValueError as error:
                _log.error("spool_record_unreadable", segment=str(segment.path), error=str(error))
            else:
                records.append(payload)
        return records

    def _writable_segment(self) -> _Segment:
        if self._current is not None and self._size < self._max_segment_bytes:
            return self._current
        self._close_current()
        if self._own is None:
            raise OSError(f"The spool {self._root} has not been opened.")
        self._number += 1
        path = self._own.new_segment(self._number)
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            self._own.sync()
        except OSError:
            os.close(file)
            raise
        self._file, self._size = file, 0
        self._current = _Segment(path, self._own)
        self._segments.append(self._current)
        return self._current

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fdatasync(self._file)
        except OSError:
            # What stands at the end of the file now is unknown: nothing may follow it.
            self._close_current()
            raise

    def _close_current(self) -> None:
        if self._current is not None:
            os.close(self._file)
            self._current = None
            self._delete_unneeded()

    def _delete_unneeded(self) -> None:
        for segment in [each for each in self._segments if not each.needed]:
            if segment is self._current:
                # The next outcomes go into it: cheaper than another file, whose name would have to be made durable.
                os.ftruncate(self._file, 0)
                self._size = 0
                continue
            segment.path.unlink(missing_ok=True)
            self._segments.remove(segment)
            is_last = not any(each.folder is segment.folder for each in self._segments)
            if is_last and segment.folder is not self._own:
                segment.folder.remove()
