"""Certificates in PEM files: what is read of them, and whether a key belongs to its certificate."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from runtime.reloading import Reloaded, UnusableFile

_MIN_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def read(self) -> bytes:
        """Return what it holds. Raises UnusableFile."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise self.unusable(f"{self.path} cannot be read ({error.strerror or error})") from None

    def unusable(self, problem: str) -> UnusableFile:
        return UnusableFile(f"The setting {self.setting} is wrong: {problem}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate with its chain and its private key, all of it PEM.

    Attributes:
        leaf: The certificate alone.
        name: A name or address that the certificate is for; empty if it tells none.
        expire_time: When the first of the chain expires.
    """

    chain: bytes
    leaf: bytes
    key: bytes = field(repr=False)
    name: str
    expire_time: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Certificates of whoever is trusted, PEM.

    Attributes:
        expire_time: When the last of them expires: old ones may stay in the file while they are replaced.
    """

    roots: bytes
    expire_time: datetime.datetime


def identity(role: str, certificate: PemFile, key: PemFile) -> Reloaded[Identity]:
    """Return the pair of two files. Raises UnusableFile."""
    return Reloaded(role, (certificate.path, key.path), lambda: _read_identity(certificate, key))


def authorities(role: str, file: PemFile) -> Reloaded[Authorities]:
    """Return the authorities of a file. Raises UnusableFile."""
    return Reloaded(role, (file.path,), lambda: _read_authorities(file))


def _read_identity(certificate: PemFile, key: PemFile) -> Identity:
    chain_pem, key_pem = certificate.read(), key.read()
    chain = _certificates(certificate, chain_pem)
    public_key = _public_key_of(key, key_pem)
    try:
        is_pair, name = _spki(public_key) == _spki(chain[0].public_key()), _name_of(chain[0])
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        # What is inside is looked at only when it is asked for.
        raise certificate.unusable(f"the certificate in {certificate.path} cannot be read") from None
    if not is_pair:
        raise key.unusable(f"{key.path} is not the key of the certificate in {certificate.path}")
    if not _is_usable(public_key):
        raise key.unusable(_no_such_keys(key))
    return Identity(
        chain=chain_pem,
        leaf=chain[0].public_bytes(Encoding.PEM),
        key=key_pem,
        name=name,
        expire_time=min(each.not_valid_after_utc for each in chain),
    )


def _read_authorities(file: PemFile) -> Authorities:
    roots = file.read()
    return Authorities(roots=roots, expire_time=max(each.not_valid_after_utc for each in _certificates(file, roots)))


def _certificates(file: PemFile, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise file.unusable(f"{file.path} holds no PEM certificate that can be read") from None


def _public_key_of(file: PemFile, pem: bytes) -> PublicKeyTypes:
    try:
        return load_pem_private_key(pem, password=None).public_key()
    except TypeError:
        raise file.unusable(f"the key in {file.path} is encrypted, which is not supported") from None
    except ValueError:
        raise file.unusable(f"{file.path} holds no PEM private key that can be read") from None
    except UnsupportedAlgorithm:
        raise file.unusable(_no_such_keys(file)) from None


def _is_usable(key: PublicKeyTypes) -> bool:
    """Return whether gRPC and the HTTP port can work with such a key; with another one each handshake would fail."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _no_such_keys(file: PemFile) -> str:
    return (
        f"{file.path} holds a key of a kind that gRPC cannot work with; "
        f"take RSA with {_MIN_RSA_BITS} bits or more, or the curve P-256 or P-384"
    )


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name_of(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    # Any name that a wildcard covers will do.
    found = [name.replace("*", "any", 1) for name in names.get_values_for_type(x509.DNSName)]
    found += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return found[0] if found else ""
