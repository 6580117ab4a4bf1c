"""The secrets of a new installation: made once, kept, renewed in time."""

import concurrent.futures
import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from scheduler import authority, private_files
from scheduler.authority import Authority
from scheduler.first_start import PROGRAMS, HostUnusable, Owners, SecretUnusable, init_secrets

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


@pytest.fixture
def now() -> datetime.datetime:
    """The real time, where a TLS library looks at the clock itself."""
    return datetime.datetime.now(datetime.UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expiry_of(path: Path) -> datetime.datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def shake_hands(server: Path, client: Path, name: str) -> None:
    """Let a client with a certificate of its own talk to a server under a name. Raises ssl.SSLError."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server / "ca.crt"))
    serving.load_cert_chain(server / "tls.crt", server / "tls.key")
    serving.verify_mode = ssl.CERT_REQUIRED
    dialling = ssl.create_default_context(cafile=str(client / "ca.crt"))
    dialling.load_cert_chain(client / "tls.crt", client / "tls.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        dialling.wrap_bio(to_client, to_server, server_hostname=name),
        serving.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert all(end.version() for end in ends)
    assert all(end.getpeercert() for end in ends)


def test_everything_that_programs_need_is_made_in_their_folders(folder: Path) -> None:
    written = init_secrets(folder, now=NOW)

    assert sorted(written) == sorted(contents(folder))
    assert sorted(written) == sorted(
        [
            "authority/ca.crt",
            "authority/ca.key",
            "postgres/password",
            "scheduler/database-password",
            *(f"{program}/{file}" for program in PROGRAMS for file in ("ca.crt", "tls.crt", "tls.key")),
        ]
    )


def test_postgres_and_the_scheduler_share_a_long_password(folder: Path) -> None:
    init_secrets(folder, now=NOW)

    password = (folder / "postgres" / "password").read_text()
    assert (folder / "scheduler" / "database-password").read_text() == password
    assert len(password.strip()) >= 43


@pytest.mark.parametrize("name", ["scheduler", "localhost", "127.0.0.1", "::1"])
def test_the_scheduler_is_trusted_under_its_names_and_trusts_an_executor(
    folder: Path, now: datetime.datetime, name: str
) -> None:
    init_secrets(folder, now=now)

    shake_hands(folder / "scheduler", folder / "executor", name)


def test_no_other_program_is_taken_for_the_scheduler(folder: Path, now: datetime.datetime) -> None:
    init_secrets(folder, now=now)

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(folder / "executor", folder / "admin", "scheduler")


def test_further_hosts_are_names_of_the_scheduler_alone(folder: Path) -> None:
    init_secrets(folder, hosts=["queue.example.org", "192.0.2.7"], now=NOW)

    assert {"queue.example.org", "192.0.2.7"} <= set(
        authority.names_of((folder / "scheduler" / "tls.crt").read_bytes())
    )
    assert "queue.example.org" not in authority.names_of((folder / "executor" / "tls.crt").read_bytes())


@pytest.mark.parametrize("host", ["*.example.org", "my_queue", "10.0.0.7", "fe80::1"])
def test_hosts_are_names_and_addresses(folder: Path, host: str) -> None:
    init_secrets(folder, hosts=[host], now=NOW)

    assert host in authority.names_of((folder / "scheduler" / "tls.crt").read_bytes())


@pytest.mark.parametrize("host", ["", " ", "https://queue.example.org", "queue:50051", "büro.example", "a..b", "a.*"])
def test_what_is_no_host_is_refused_before_anything_is_written(folder: Path, host: str) -> None:
    with pytest.raises(HostUnusable, match="neither a host's name nor an address"):
        init_secrets(folder, hosts=["queue.example.org", host], now=NOW)

    assert not folder.exists()


def test_a_host_that_is_named_later_is_added_for_the_same_key(folder: Path) -> None:
    init_secrets(folder, hosts=["first.example.org"], now=NOW)
    key = (folder / "scheduler" / "tls.key").read_bytes()

    assert init_secrets(folder, hosts=["second.example.org"], now=NOW) == ["scheduler/tls.crt"]

    certificate = (folder / "scheduler" / "tls.crt").read_bytes()
    assert {"first.example.org", "second.example.org"} <= set(authority.names_of(certificate))
    assert authority.belongs_to(certificate, key)


def test_a_second_run_makes_nothing(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    before = contents(folder)

    assert init_secrets(folder, now=NOW + 300 * DAY) == []
    assert contents(folder) == before


@pytest.mark.parametrize("steps", range(16))
def test_a_run_that_was_broken_off_is_finished_by_the_next_one(
    folder: Path, now: datetime.datetime, steps: int
) -> None:
    written = init_secrets(folder, now=now)
    before = contents(folder)
    for name in written[steps:]:
        (folder / name).unlink()

    assert init_secrets(folder, now=now) == written[steps:]

    after = contents(folder)
    assert all(after[name] == before[name] for name in written[:steps])
    assert after["postgres/password"] == after["scheduler/database-password"]
    for program in PROGRAMS:
        shake_hands(folder / program, folder / "admin", "localhost")


def test_many_runs_at_once_make_each_file_once(folder: Path, now: datetime.datetime) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda _: init_secrets(folder, now=now), range(8)))

    written = [name for run in runs for name in run]
    assert sorted(written) == sorted(contents(folder))
    for program in PROGRAMS:
        shake_hands(folder / program, folder / "admin", "localhost")


def test_a_certificate_is_renewed_in_its_last_month_with_the_same_key_and_authority(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    before = contents(folder)
    expiry = expiry_of(folder / "scheduler" / "tls.crt")

    assert init_secrets(folder, now=expiry - 31 * DAY) == []
    renewed = init_secrets(folder, now=expiry - 29 * DAY)

    assert sorted(renewed) == sorted(f"{program}/tls.crt" for program in PROGRAMS)
    after = contents(folder)
    assert {name for name in after if after[name] != before[name]} == set(renewed)
    assert expiry_of(folder / "scheduler" / "tls.crt") == expiry - 29 * DAY + authority.CERTIFICATE_LIFETIME


def test_an_authority_is_renewed_with_its_key_so_that_nobody_notices(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    old = (folder / "authority" / "ca.crt").read_bytes()

    renewed = init_secrets(folder, now=expiry_of(folder / "authority" / "ca.crt") - 20 * DAY)

    new = (folder / "authority" / "ca.crt").read_bytes()
    assert {f"{program}/ca.crt" for program in PROGRAMS} < set(renewed)
    assert all((folder / program / "ca.crt").read_bytes() == new for program in PROGRAMS)
    for root in (old, new):
        assert authority.is_signed_by((folder / "scheduler" / "tls.crt").read_bytes(), root)


def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    end = expiry_of(folder / "authority" / "ca.crt")
    (folder / "admin" / "tls.crt").unlink()

    init_secrets(folder, now=end - 100 * DAY)

    assert expiry_of(folder / "admin" / "tls.crt") == end


def test_certificates_and_roots_of_another_authority_are_kept(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    ca_key, key = authority.new_key(), authority.new_key()
    ca = authority.self_signed(ca_key, "somebody else", now=NOW)
    own = Authority(ca, ca_key).sign(key, ["queue.example.org"], now=NOW)
    (folder / "scheduler" / "tls.key").write_bytes(key)
    (folder / "scheduler" / "tls.crt").write_bytes(own)
    (folder / "executor" / "ca.crt").write_bytes(ca)

    init_secrets(folder, hosts=["other.example.org"], now=NOW + 820 * DAY)

    assert (folder / "scheduler" / "tls.crt").read_bytes() == own
    assert (folder / "executor" / "ca.crt").read_bytes() == ca


def test_roots_that_were_added_stay(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    roots = folder / "executor" / "ca.crt"
    both = roots.read_bytes() + authority.self_signed(authority.new_key(), "another", now=NOW)
    roots.write_bytes(both)

    assert init_secrets(folder, now=NOW) == []
    assert roots.read_bytes() == both


def test_an_authority_whose_key_lies_elsewhere_is_left_alone(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    (folder / "authority" / "ca.key").unlink()

    assert init_secrets(folder, now=NOW) == []

    (folder / "admin" / "tls.crt").unlink()
    with pytest.raises(FileNotFoundError, match=r"authority/ca\.key"):
        init_secrets(folder, now=NOW)


def test_a_key_that_is_none_is_refused_by_name_and_kept(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    (folder / "scheduler" / "tls.key").write_text("what?")

    with pytest.raises(SecretUnusable, match="scheduler cannot be used"):
        init_secrets(folder, now=NOW)
    assert (folder / "scheduler" / "tls.key").read_text() == "what?"


def test_a_certificate_that_is_none_is_refused_by_its_folder_and_kept(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    (folder / "executor" / "tls.crt").write_text("junk")

    with pytest.raises(SecretUnusable, match=r"secrets/executor cannot be used"):
        init_secrets(folder, now=NOW)

    assert (folder / "executor" / "tls.crt").read_text() == "junk"


def test_a_key_of_another_authority_is_refused(folder: Path) -> None:
    init_secrets(folder, now=NOW)
    (folder / "authority" / "ca.key").write_bytes(authority.new_key())

    with pytest.raises(SecretUnusable, match=r"authority cannot be used: ca\.key is not the key of ca\.crt"):
        init_secrets(folder, now=NOW)


def test_only_their_owner_reads_the_secrets(folder: Path) -> None:
    previous = os.umask(0)
    try:
        init_secrets(folder, now=NOW)
    finally:
        os.umask(previous)

    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*/*")}
    assert {name for name, mode in modes.items() if mode != 0o600} == {n for n in modes if n.endswith(".crt")}
    assert {mode for name, mode in modes.items() if name.endswith(".crt")} == {0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_are_given_to_the_users_of_the_programs_and_stay_theirs(folder: Path) -> None:
    owners = Owners(uid=10_001, postgres_uid=999)
    init_secrets(folder, owners=owners, now=NOW)
    init_secrets(folder, owners=owners, hosts=["queue.example.org"], now=NOW)

    found = {path.relative_to(folder).parts[0]: set[int]() for path in folder.iterdir()}
    for path in [*folder.iterdir(), *folder.glob("*/*")]:
        found[path.relative_to(folder).parts[0]].add(path.stat().st_uid)
    assert found == {
        "authority": {0},
        "postgres": {999},
        "scheduler": {10_001},
        "executor": {10_001},
        "admin": {10_001},
    }


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(OSError, match="taken"):
        private_files.write(tmp_path / "taken", b"secret")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
