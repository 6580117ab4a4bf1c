"""Certificates of an authority of our own, for systems that nobody else trusts."""

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate with its chain, and its private key; both PEM."""

    certificate: Path
    key: Path

    def replace_by(self, other: "CertificateFiles") -> None:
        """Put another pair in its place, as operators do: first one file, then the other."""
        shutil.copyfile(other.certificate, self.certificate)
        shutil.copyfile(other.key, self.key)


class Authority:
    """Signs certificates; its files and theirs lie in a folder.

    Attributes:
        file: Its own certificate, PEM.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, expire_time: datetime.datetime | None = None) -> CertificateFiles:
        """Sign a certificate for hosts; one that is not for servers names its holder instead.

        Args:
            name: Of the two files.
            hosts: Names and addresses.
            expire_time: None is years ahead.
        """
        files = CertificateFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        # One that has expired must have begun before.
        begin = expire_time and expire_time - datetime.timedelta(days=30)
        issued = self._authority.issue_cert(*(hosts or (name,)), not_before=begin, not_after=expire_time)
        files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files.key)
        files.key.chmod(0o600)
        return files
