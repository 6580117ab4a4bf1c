"""TLS of the client's connection: the files that it takes, and the credentials that gRPC makes of them."""

import ssl
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import grpc

AnyPath = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS with these PEM files. A change of one is seen by the next call; calls under way go on as they began.

    Attributes:
        ca_file: The roots to trust. Default: VISIONJOBS_TLS_CA_FILE, else SSL_CERT_FILE, else those of gRPC.
        certificate_file: What the client shows to a scheduler that asks for a certificate, with its chain. Default:
            VISIONJOBS_TLS_CERTIFICATE_FILE, else none.
        key_file: The certificate's, not encrypted. Default: VISIONJOBS_TLS_KEY_FILE.
    """

    ca_file: AnyPath | None = None
    certificate_file: AnyPath | None = None
    key_file: AnyPath | None = None

    def __post_init__(self) -> None:
        """Refuse one half of a pair. Raises ValueError."""
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ValueError("A client certificate for TLS takes two files: the certificate and its key.")


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return what gRPC connects with. Raises ValueError, for gRPC itself would only ever fail to connect."""
    roots = None if tls.ca_file is None else _roots(tls.ca_file)
    chain, key = (
        (None, None)
        if tls.certificate_file is None or tls.key_file is None
        else _pair(tls.certificate_file, tls.key_file)
    )
    return grpc.ssl_channel_credentials(root_certificates=roots, private_key=key, certificate_chain=chain)


def stamp(tls: Tls | None) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what differs when one of the files has changed."""
    files = () if tls is None else (tls.ca_file, tls.certificate_file, tls.key_file)
    return tuple(None if file is None else _stamp_of(file) for file in files)


def _stamp_of(file: AnyPath) -> tuple[int, int, int] | None:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _roots(file: AnyPath) -> bytes:
    roots = _read(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise ValueError(f"{fspath(file)} holds no PEM certificates to trust.") from None
    return roots


def _pair(certificate: AnyPath, key: AnyPath) -> tuple[bytes, bytes]:
    pair = _read(certificate), _read(key)
    try:
        # Without a password here an encrypted key would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except ssl.SSLError:
        raise ValueError(
            f"{fspath(certificate)} and {fspath(key)} are not a PEM certificate and its key without a password."
        ) from None
    return pair


def _read(file: AnyPath) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{fspath(file)} cannot be read ({error.strerror or error}).") from None
