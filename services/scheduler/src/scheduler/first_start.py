"""Makes the secrets that a new installation needs, once: the database's password, a private authority, certificates.

Each program has a folder of its own, so that it can be given what it needs and nothing else:

    authority/   ca.crt, ca.key                                  for nobody but this module
    postgres/    ca.crt, tls.crt, tls.key, password
    scheduler/   ca.crt, tls.crt, tls.key, database-password
    executor/    ca.crt, tls.crt, tls.key                        and an API key, made when there is a database
    admin/       ca.crt, tls.crt, tls.key                        and an API key, as above

What is there is kept, with one exception: a certificate of the authority here is signed again, for the same key, when
it is about to expire or lacks a name. So no reader ever sees a key beside the certificate of another one, and each
step can be broken off and done again.
"""

import contextlib
import datetime
import ipaddress
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler import authority, private_files
from scheduler.authority import Authority

AUTHORITY = "authority"
POSTGRES = "postgres"
SCHEDULER = "scheduler"
PROGRAMS = (POSTGRES, SCHEDULER, "executor", "admin")

_AUTHORITY_NAME = "visionjobs private authority"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_PASSWORD_BYTES = 32
_PUBLIC = 0o644
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = rf"(\*\.)?{_LABEL}(\.{_LABEL})*"


class HostUnusable(Exception):
    """No certificate can be for such a host."""


class SecretUnusable(Exception):
    """A file that is there cannot be used, and is not ours to replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose files they become; None leaves them to this process's user, and others take a superuser.

    Attributes:
        uid: Of all programs but Postgres.
        postgres_uid: Of Postgres.
    """

    uid: int | None = None
    postgres_uid: int | None = None

    def of(self, program: str) -> int | None:
        if program == AUTHORITY:
            return None
        return self.postgres_uid if program == POSTGRES else self.uid


def init_secrets(
    folder: Path, *, hosts: Sequence[str] = (), owners: Owners | None = None, now: datetime.datetime
) -> Sequence[str]:
    """Make what is missing, and return the names of the files that were written, never what they hold.

    Args:
        folder: Where the programs' folders are, or will be.
        hosts: Names and addresses of the scheduler, besides its own and this machine's.
        owners: Of the files.
        now: The time.

    Raises:
        HostUnusable: One of the hosts is neither a name nor an address.
        OSError: A file cannot be read or written.
        SecretUnusable: A file holds nothing that can be worked with.
    """
    for host in hosts:
        _check_host(host)
    start = _Start(folder, owners or Owners(), now)
    start.make_folders()
    with private_files.locked(folder / AUTHORITY):
        start.share_password()
        start.make_authority()
        for program in PROGRAMS:
            start.certify(program, [program, *_LOCAL_NAMES, *(hosts if program == SCHEDULER else ())])
    return start.written


def _check_host(host: str) -> None:
    # Before it is in a certificate, for there it would stay.
    if re.fullmatch(_HOST, host):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise HostUnusable(
            f"{host!r} is neither a host's name nor an address; it takes no scheme and no port."
        ) from None


class _Start:
    """One run of `init_secrets`, and what it has written so far."""

    def __init__(self, folder: Path, owners: Owners, now: datetime.datetime) -> None:
        self.written: list[str] = []
        self._folder = folder
        self._owners = owners
        self._now = now

    def make_folders(self) -> None:
        for program in (AUTHORITY, *PROGRAMS):
            private_files.make_folder(self._folder / program, uid=self._owners.of(program))

    def share_password(self) -> None:
        """Postgres takes it when it makes its data, the scheduler for each connection."""
        places = (f"{POSTGRES}/password", f"{SCHEDULER}/database-password")
        known = next((content for place in places if (content := self._read(place))), None)
        password = known or f"{secrets.token_urlsafe(_PASSWORD_BYTES)}\n".encode()
        for place in places:
            if self._read(place) is None:
                self._write(place, password)

    def make_authority(self) -> None:
        """An authority whose key lies elsewhere is left alone."""
        certificate, key = f"{AUTHORITY}/ca.crt", f"{AUTHORITY}/ca.key"
        if self._read(certificate) is None:
            self._keep_or_make_key(key)
        elif self._read(key) is None:
            return
        with _naming(self._folder / AUTHORITY):
            if self._is_authority_due(self._read(certificate), self._content(key)):
                self._write(
                    certificate, authority.self_signed(self._content(key), _AUTHORITY_NAME, now=self._now), mode=_PUBLIC
                )

    def certify(self, program: str, names: Sequence[str]) -> None:
        """Give a program its key, its certificate, and the authority's."""
        roots, certificate, key = f"{program}/ca.crt", f"{program}/tls.crt", f"{program}/tls.key"
        with _naming(self._folder / program):
            self._trust(roots)
            present = self._read(certificate)
            if present is None:
                self._keep_or_make_key(key)
            elif not self._is_due(present, key, names):
                return
            every = list(dict.fromkeys([*names, *(authority.names_of(present) if present else ())]))
            signed = self._authority().sign(self._content(key), every, now=self._now)
            self._write(certificate, signed, mode=_PUBLIC)

    def _trust(self, roots: str) -> None:
        """Hand out the authority's certificate; other roots that somebody put there stay."""
        current = self._content(f"{AUTHORITY}/ca.crt")
        present = self._read(roots)
        if present is None or (current not in present and authority.is_signed_by(present, current)):
            self._write(roots, current, mode=_PUBLIC)

    def _is_authority_due(self, certificate: bytes | None, key: bytes) -> bool:
        if certificate is None:
            return True
        if not authority.belongs_to(certificate, key):
            raise ValueError("ca.key is not the key of ca.crt")
        is_ours = authority.is_signed_by(certificate, certificate)
        return is_ours and authority.expires_soon(certificate, now=self._now)

    def _is_due(self, certificate: bytes, key: str, names: Sequence[str]) -> bool:
        if not authority.is_signed_by(certificate, self._content(f"{AUTHORITY}/ca.crt")):
            return False
        lacking = set(names) - set(authority.names_of(certificate))
        return (
            bool(lacking)
            or authority.expires_soon(certificate, now=self._now)
            or not authority.belongs_to(certificate, self._content(key))
        )

    def _authority(self) -> Authority:
        return Authority(self._content(f"{AUTHORITY}/ca.crt"), self._content(f"{AUTHORITY}/ca.key"))

    def _keep_or_make_key(self, name: str) -> None:
        if self._read(name) is None:
            self._write(name, authority.new_key())

    def _content(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _read(self, name: str) -> bytes | None:
        try:
            return self._content(name)
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes, *, mode: int = 0o600) -> None:
        private_files.write(self._folder / name, content, mode=mode, uid=self._owners.of(name.partition("/")[0]))
        self.written.append(name)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Say in which folder something cannot be read."""
    try:
        yield
    except ValueError as error:
        raise SecretUnusable(f"A certificate or key in {folder} cannot be used: {error}") from None
