"""A Postgres of our own, started and ended at will: the lifecycle of one server on a loopback port.

Which binaries that is, and as whom they run, is the matter of `postgres_binaries`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from devkit.postgres_binaries import EmbeddedPostgresError, PostgresBinaries

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

MAJOR_VERSION = "18"

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_READY_LINE = 7  # of postmaster.pid, from 0: the server's state

# What a server says when another is in its way, and how long that may last: a port that was taken since it was picked,
# a killed server that is not quite gone (an init may take more than a second to reap it).
_IN_THE_WAY = ("Address already in use", "lock file", "shared memory block")
_IN_THE_WAY_SECONDS = 5.0
_RETRY_SECONDS = 0.1


class EmbeddedPostgres:
    """A server on a loopback port, with the user `postgres` and no password.

    Started again after `stop` or `kill` it keeps its data and its port. One thread at a time may start or end it.
    """

    def __init__(self, *, data_dir: Path, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing is started.

        Args:
            data_dir: Where the data is, or will be: then it is empty or does not exist. The log goes beside it.
            port: None picks a free one at the first start.
            settings: Server settings, on top of Postgres's own defaults.
        """
        self._data_dir = data_dir.resolve()
        self._log_file = self._data_dir.with_name(f"{self._data_dir.name}.log")
        self._port = port
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database; the server must have been started once, or its port given."""
        if self._port is None:
            raise EmbeddedPostgresError("The server was not started yet.")
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start the server, make its data if there is none, and wait until it takes connections.

        Raises:
            EmbeddedPostgresError: It runs already, or did not start; then the message quotes its log.
        """
        if self._process is not None and self._process.poll() is None:
            raise EmbeddedPostgresError("The server is already running.")
        binaries = PostgresBinaries()
        try:
            self._initialise(binaries)
            self._launch(binaries)
        except OSError as error:
            raise EmbeddedPostgresError(f"Postgres did not start: {error}") from error

    def stop(self) -> None:
        """End the server in its own good time: running statements are broken off, everything is on disk."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server and every backend at once, as a crash of their machine would."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # A busy backend outlives its postmaster and keeps the next one out. Frozen, the postmaster neither starts
            # one more nor reaps one, so that the ids stay theirs.
            self._process.send_signal(signal.SIGSTOP)
            for backend in _children(self._process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(backend, signal.SIGKILL)
            self._process.kill()
        self._process.wait()
        self._process = None

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database, as a copy of another one if told to."""
        done = PostgresBinaries().run("createdb", f"--maintenance-db={self.url()}", f"--template={template}", name)
        if done.returncode:
            raise EmbeddedPostgresError(f"createdb failed: {done.stderr.strip()}")

    def _initialise(self, binaries: PostgresBinaries) -> None:
        version = self._data_dir / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != MAJOR_VERSION:
                raise EmbeddedPostgresError(
                    f"{self._data_dir} was made by Postgres {found}, this one is {MAJOR_VERSION}: name another folder."
                )
            return
        if self._data_dir.exists() and any(self._data_dir.iterdir()):
            raise EmbeddedPostgresError(f"{self._data_dir} holds files that are not Postgres's: name another folder.")
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        # Made elsewhere and moved here whole: what a broken-off initdb leaves looks like data, but never starts.
        making = Path(tempfile.mkdtemp(prefix=f"{self._data_dir.name}-initdb-", dir=self._data_dir.parent))
        try:
            binaries.initdb(making)
            making.rename(self._data_dir)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _launch(self, binaries: PostgresBinaries) -> None:
        """Start the server, again while another is in its way, until it is ready."""
        started = time.monotonic()
        while True:
            port = self._port or _free_port()
            if self._comes_up(binaries, port, deadline=started + _READY_SECONDS):
                self._port = port
                return
            log = self._log()
            passing = any(words in log for words in _IN_THE_WAY)
            if not passing or time.monotonic() > started + _IN_THE_WAY_SECONDS:
                raise EmbeddedPostgresError(f"Postgres did not start: {log}")
            time.sleep(_RETRY_SECONDS)

    def _comes_up(self, binaries: PostgresBinaries, port: int, *, deadline: float) -> bool:
        """Start the server on a port; return whether it is ready, else it has ended."""
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        # A new file, not an emptied one: a server that is still ending writes on into the old one.
        self._log_file.unlink(missing_ok=True)
        with self._log_file.open("xb") as log:
            self._process = binaries.spawn(
                "postgres", f"-D{self._data_dir}", "-h127.0.0.1", f"-p{port}", "-k", "", *settings, output=log
            )
        ready = False
        try:
            while not ready and time.monotonic() < deadline and self._process.poll() is None:
                time.sleep(_POLL_SECONDS)
                ready = self._is_ready(self._process.pid)
        finally:
            if not ready:
                self.kill()
        return ready

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > _READY_LINE and lines[0].strip() == str(pid) and lines[_READY_LINE].strip() == "ready"

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return " / ".join(self._log_file.read_text(errors="replace").strip().splitlines()[-5:])
        return ""


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of its child processes; none where the machine does not tell, as outside Linux."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
