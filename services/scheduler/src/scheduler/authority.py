"""A private authority: it signs the certificates of the programs of one installation. All of it is PEM."""

import datetime
import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
CERTIFICATE_LIFETIME = datetime.timedelta(days=825)
"""The longest that every TLS library accepts."""
RENEW_BEFORE = datetime.timedelta(days=30)

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# Clocks differ.
_BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs. Its methods, and the functions below, raise ValueError for PEM that they cannot read."""

    certificate: bytes
    key: bytes = field(repr=False)

    def sign(self, key: bytes, names: Sequence[str], *, now: datetime.datetime) -> bytes:
        """Return a certificate for servers and clients, for this key and these host names and addresses."""
        issuer = x509.load_pem_x509_certificate(self.certificate)
        signer = _private(self.key)
        expiry = min(now + CERTIFICATE_LIFETIME, issuer.not_valid_after_utc)
        builder = (
            _builder(names[0], _private(key).public_key(), issuer.subject, now=now, expiry=expiry)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


def new_key() -> bytes:
    """Return a private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed(key: bytes, name: str, *, now: datetime.datetime) -> bytes:
    """Return the certificate of an authority with this key. With the same name it replaces an older one anywhere."""
    private = _private(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(name, private.public_key(), subject, now=now, expiry=now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def is_signed_by(certificate: bytes, issuer: bytes) -> bool:
    """Say whether the issuer's key has signed the certificate; the issuer's own certificate may be newer."""
    signed, issuer_certificate = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(issuer)
    try:
        signed.verify_directly_issued_by(issuer_certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def belongs_to(certificate: bytes, key: bytes) -> bool:
    """Say whether this is the certificate's key."""
    return _spki(x509.load_pem_x509_certificate(certificate).public_key()) == _spki(_private(key).public_key())


def expires_soon(certificate: bytes, *, now: datetime.datetime) -> bool:
    """Say whether it is time to renew a certificate."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc - now < RENEW_BEFORE


def names_of(certificate: bytes) -> Collection[str]:
    """Return the host names and addresses that it is for."""
    try:
        found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in found.value.get_values_for_type(x509.IPAddress)]
    return [*found.value.get_values_for_type(x509.DNSName), *addresses]


def _builder(
    name: str, key: _PublicKey, issuer: x509.Name, *, now: datetime.datetime, expiry: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(expiry)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(pem: bytes) -> _PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the key is encrypted") from None
    if not isinstance(key, _PrivateKey):
        raise ValueError("the key is neither on an elliptic curve nor RSA")  # noqa: TRY004 - of bad content, as above
    return key


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
