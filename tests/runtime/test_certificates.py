import base64
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID

from devkit.certificates import Authority, CertificateFiles
from runtime.certificates import Identity, PemFile, authorities, identity
from runtime.reloading import UnusableFile


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def read(files: CertificateFiles) -> Identity:
    return identity(
        "server", PemFile("X_CERTIFICATE_FILE", files.certificate), PemFile("X_KEY_FILE", files.key)
    ).current()


_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def self_signed(folder: Path, key: _Key, names: x509.ExtensionType) -> CertificateFiles:
    """Write a pair that devkit's authority would not sign."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    begin = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    files = CertificateFiles(folder / "odd.pem", folder / "odd.key")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


NAMES = x509.SubjectAlternativeName([x509.DNSName("a.example")])


def test_a_pair_is_read_with_its_name_and_its_end(authority: Authority) -> None:
    end = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)

    found = read(authority.issue("server", "a.example", "127.0.0.1", expire_time=end))

    assert found.name == "a.example"
    assert found.expire_time == end
    assert found.leaf in found.chain


@pytest.mark.parametrize(("host", "name"), [("*.a.example", "any.a.example"), ("127.0.0.1", "127.0.0.1")])
def test_the_name_is_one_that_the_certificate_is_for(authority: Authority, host: str, name: str) -> None:
    assert read(authority.issue("server", host)).name == name


def test_the_key_is_never_shown(authority: Authority) -> None:
    assert "PRIVATE" not in repr(read(authority.issue("server", "a.example")))


def test_a_key_of_another_certificate_is_refused_by_its_setting(authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")

    with pytest.raises(UnusableFile, match=r"The setting X_KEY_FILE is wrong: .*two\.key is not the key of"):
        read(CertificateFiles(one.certificate, two.key))


def test_what_is_no_certificate_or_no_key_is_refused_by_its_setting(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("server")

    with pytest.raises(UnusableFile, match=r"X_CERTIFICATE_FILE is wrong: .* holds no PEM certificate"):
        read(CertificateFiles(pair.key, pair.key))
    with pytest.raises(UnusableFile, match=r"X_KEY_FILE is wrong: .* holds no PEM private key"):
        read(CertificateFiles(pair.certificate, pair.certificate))
    with pytest.raises(UnusableFile, match=r"X_KEY_FILE is wrong: .* cannot be read \(No such file"):
        read(CertificateFiles(pair.certificate, tmp_path / "missing"))


def test_an_encrypted_key_is_refused(authority: Authority) -> None:
    pair = authority.issue("server")
    key = load_pem_private_key(pair.key.read_bytes(), password=None)
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))

    with pytest.raises(UnusableFile, match="encrypted"):
        read(pair)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_the_usual_curves_are_taken(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    assert read(self_signed(tmp_path, ec.generate_private_key(curve), NAMES)).name == "a.example"


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 1024),
    ],
    ids=["P-521", "Ed25519", "RSA-1024"],
)
def test_a_key_that_would_fail_in_each_handshake_is_refused_at_once(tmp_path: Path, key: _Key) -> None:
    with pytest.raises(UnusableFile, match=r"X_KEY_FILE is wrong: .*odd\.key holds a key of a kind that gRPC cannot"):
        read(self_signed(tmp_path, key, NAMES))


def test_a_key_of_an_unknown_algorithm_is_refused_by_its_setting(authority: Authority) -> None:
    pair = authority.issue("server")
    key = load_pem_private_key(pair.key.read_bytes(), password=None)
    encoded = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0909")
    body = base64.encodebytes(encoded.replace(known, unknown)).decode()
    pair.key.write_text(f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")

    with pytest.raises(UnusableFile, match=r"X_KEY_FILE is wrong: .* of a kind that gRPC cannot"):
        read(pair)


def test_a_certificate_with_a_broken_part_is_refused_by_its_setting(tmp_path: Path) -> None:
    broken = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x82")

    with pytest.raises(UnusableFile, match=r"X_CERTIFICATE_FILE is wrong: the certificate in .* cannot be read"):
        read(self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), broken))


def test_a_chain_is_good_until_the_first_of_it_expires(authority: Authority) -> None:
    ends = [datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2031, 2030)]
    pair, other = (authority.issue(f"of-{end.year}", expire_time=end) for end in ends)
    pair.certificate.write_bytes(pair.certificate.read_bytes() + other.certificate.read_bytes())

    assert read(pair).expire_time == min(ends)


def test_authorities_are_good_until_the_last_of_them_expires(authority: Authority) -> None:
    ends = [datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2030, 2032, 2031)]
    pems = [authority.issue(f"of-{end.year}", expire_time=end).certificate.read_bytes() for end in ends]
    authority.file.write_bytes(b"".join(pems))

    assert authorities("ca", PemFile("X_CA_FILE", authority.file)).current().expire_time == max(ends)
