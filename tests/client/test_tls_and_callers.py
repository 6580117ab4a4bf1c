"""Over which doors the client goes, and what it shows there."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler, serve

import visionjobs
from devkit.certificates import Authority, CertificateFiles
from visionjobs import AsyncClient, Client, Tls
from visionjobs.addresses import is_loopback
from visionjobs.connection import Connection

KEY = "vj_0123456789ab_a-secret-that-nobody-may-see"
SOON = timedelta(seconds=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def own(authority: Authority) -> CertificateFiles:
    return authority.issue("backend")


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[FakeScheduler]:
    """A scheduler that answers by TLS only."""
    fake = FakeScheduler()
    server = await serve(fake, credentials=server_credentials(authority))
    yield fake
    await server.stop(None)


@pytest.fixture
async def mutual(authority: Authority) -> AsyncIterator[FakeScheduler]:
    """A scheduler that asks its clients for a certificate."""
    fake = FakeScheduler()
    server = await serve(fake, credentials=server_credentials(authority, client_ca=authority.file))
    yield fake
    await server.stop(None)


def server_credentials(authority: Authority, client_ca: Path | None = None) -> grpc.ServerCredentials:
    files = authority.issue("server", "127.0.0.1", "localhost")
    return grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.certificate.read_bytes())],
        root_certificates=None if client_ca is None else client_ca.read_bytes(),
        require_client_auth=client_ca is not None,
    )


async def calls_with(scheduler: FakeScheduler, client: AsyncClient) -> str | bytes | None:
    """Call, and return the authorization that arrived."""
    async with client:
        await client.list_lanes()
    return scheduler.metadata[-1].get("authorization")


async def test_a_key_goes_over_tls_to_a_scheduler_whose_authority_is_trusted(
    secure: FakeScheduler, authority: Authority
) -> None:
    client = AsyncClient(secure.address, KEY, tls=Tls(ca_file=authority.file))

    assert await calls_with(secure, client) == f"Bearer {KEY}"


async def test_a_scheduler_of_another_authority_gets_nothing(secure: FakeScheduler, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")

    async with AsyncClient(secure.address, KEY, tls=Tls(ca_file=str(stranger.file)), timeout=SOON) as client:
        with pytest.raises(visionjobs.Unavailable):
            await client.list_lanes()

    assert secure.requests == []


async def test_a_client_shows_its_certificate_to_a_scheduler_that_asks(
    mutual: FakeScheduler, authority: Authority, own: CertificateFiles
) -> None:
    tls = Tls(ca_file=authority.file, certificate_file=own.certificate, key_file=own.key)

    assert await calls_with(mutual, AsyncClient(mutual.address, KEY, tls=tls)) == f"Bearer {KEY}"

    async with AsyncClient(mutual.address, KEY, tls=Tls(ca_file=authority.file), timeout=SOON) as bare:
        with pytest.raises(visionjobs.Unavailable):
            await bare.list_lanes()


async def test_the_files_come_from_the_environment_and_any_of_them_means_tls(
    mutual: FakeScheduler, authority: Authority, own: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS_CA_FILE", str(authority.file))
    monkeypatch.setenv("VISIONJOBS_TLS_CERTIFICATE_FILE", str(own.certificate))
    monkeypatch.setenv("VISIONJOBS_TLS_KEY_FILE", str(own.key))

    assert await calls_with(mutual, AsyncClient(mutual.address, KEY)) == f"Bearer {KEY}"
    assert await calls_with(mutual, AsyncClient(mutual.address, KEY, tls=True)) == f"Bearer {KEY}"


async def test_files_that_are_not_given_come_from_the_environment(
    mutual: FakeScheduler, authority: Authority, own: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS_CERTIFICATE_FILE", str(own.certificate))
    monkeypatch.setenv("VISIONJOBS_TLS_KEY_FILE", str(own.key))

    client = AsyncClient(mutual.address, KEY, tls=Tls(ca_file=authority.file))

    assert await calls_with(mutual, client) == f"Bearer {KEY}"


async def test_the_roots_of_openssl_are_trusted_where_none_are_named(
    secure: FakeScheduler, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS", "true")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    assert await calls_with(secure, AsyncClient(secure.address, KEY)) == f"Bearer {KEY}"


async def test_roots_that_are_named_count_more_than_those_of_openssl(
    secure: FakeScheduler, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS_CA_FILE", str(authority.file))
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "other").file))

    assert await calls_with(secure, AsyncClient(secure.address, KEY, timeout=SOON)) == f"Bearer {KEY}"


async def test_what_is_asked_for_counts_more_than_the_environment(
    scheduler: FakeScheduler, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS", "true")
    monkeypatch.setenv("VISIONJOBS_TLS_CA_FILE", str(authority.file))

    assert await calls_with(scheduler, AsyncClient(scheduler.address, KEY, tls=False)) == f"Bearer {KEY}"


async def test_tls_can_be_switched_off_by_the_environment_although_a_file_is_named(
    scheduler: FakeScheduler, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_TLS", "false")
    monkeypatch.setenv("VISIONJOBS_TLS_CA_FILE", str(authority.file))

    assert await calls_with(scheduler, AsyncClient(scheduler.address, KEY)) == f"Bearer {KEY}"


async def test_a_replaced_certificate_is_shown_by_the_next_call(
    authority: Authority, own: CertificateFiles, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").issue("backend")
    good = authority.issue("good")
    fake = FakeScheduler()
    server = await serve(fake, credentials=server_credentials(authority, client_ca=authority.file))
    own.replace_by(stranger)
    tls = Tls(ca_file=authority.file, certificate_file=own.certificate, key_file=own.key)

    async with AsyncClient(fake.address, KEY, tls=tls, timeout=SOON) as client:
        with pytest.raises(visionjobs.Unavailable):
            await client.list_lanes()
        own.certificate.write_bytes(good.certificate.read_bytes())
        # Only one half of the pair is there: the old one stays.
        with pytest.raises(visionjobs.Unavailable):
            await client.list_lanes()
        own.replace_by(good)
        await client.list_lanes()
    await server.stop(None)

    assert len(fake.requests) == 1


async def test_a_change_of_the_files_opens_one_line(secure: FakeScheduler, authority: Authority) -> None:
    connection = Connection(secure.address, Tls(ca_file=authority.file))
    first = connection.line()
    authority.file.write_bytes(authority.file.read_bytes() + b"\n")
    second = connection.line()

    assert second is not first
    assert connection.line() is second
    await connection.close()


async def test_a_watch_outlives_a_change_of_the_files(mutual: FakeScheduler, authority: Authority) -> None:
    files, renewed, go_on = authority.issue("old"), authority.issue("new"), asyncio.Event()
    mutual.streams.append([job_message("j"), go_on, succeeded("j")])
    tls = Tls(ca_file=authority.file, certificate_file=files.certificate, key_file=files.key)

    async with AsyncClient(mutual.address, KEY, tls=tls) as client:
        changes = client.watch("j")
        await anext(changes)
        files.replace_by(renewed)
        await client.list_lanes()
        go_on.set()
        assert [job.state async for job in changes] == [visionjobs.JobState.SUCCEEDED]

    assert len(mutual.requests) == 2


async def test_files_that_are_not_in_order_are_refused_at_once(
    authority: Authority, own: CertificateFiles, tmp_path: Path
) -> None:
    other = authority.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")

    with pytest.raises(ValueError, match=r"missing\.pem cannot be read"):
        AsyncClient(tls=Tls(ca_file=tmp_path / "missing.pem"))
    with pytest.raises(ValueError, match=r"nonsense\.pem holds no PEM certificates"):
        AsyncClient(tls=Tls(ca_file=nonsense))
    with pytest.raises(ValueError, match="are not a PEM certificate and its key"):
        AsyncClient(tls=Tls(certificate_file=own.certificate, key_file=other.key))
    with pytest.raises(ValueError, match="takes two files"):
        Tls(certificate_file=own.certificate)


@pytest.mark.parametrize(
    "address", ["scheduler.internal:443", "10.0.0.1:50051", "[2001:db8::1]:50051", "dns:///jobs:1", "ipv4:10.0.0.1:1"]
)
async def test_a_key_is_not_sent_beyond_this_machine_without_tls(address: str) -> None:
    for attempt in (
        lambda: AsyncClient(address, KEY),
        lambda: AsyncClient(address, KEY, tls=False),
        lambda: Client(address, KEY),
    ):
        with pytest.raises(ValueError, match="without TLS") as caught:
            attempt()
        assert address in str(caught.value)
        assert KEY not in str(caught.value)

    async with AsyncClient(address) as without_key, AsyncClient(address, KEY, tls=True) as with_tls:
        assert without_key.address == with_tls.address == address


async def test_a_key_is_sent_without_tls_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncClient("scheduler:50051", KEY, insecure=True) as client:
        assert client.address == "scheduler:50051"

    monkeypatch.setenv("VISIONJOBS_INSECURE", "true")
    monkeypatch.setenv("VISIONJOBS_API_KEY", KEY)
    async with AsyncClient("scheduler:50051") as client:
        assert client.address == "scheduler:50051"


@pytest.mark.parametrize(
    ("address", "stays"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.8.8:50051", True),
        ("localhost:50051", True),
        ("LocalHost:50051", True),
        ("[::1]:50051", True),
        ("dns:localhost:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv6:[::1]:1", True),
        ("unix:/run/scheduler.sock", True),
        ("unix:///run/scheduler.sock", True),
        ("unix-abstract:scheduler", True),
        ("localhost.example:50051", False),
        ("localhost.:50051", False),
        ("127.0.0.1.nip.io:50051", False),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        ("10.0.0.1:50051", False),
        ("dns://10.0.0.53/localhost:50051", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("ipv6:[2001:db8::1]:1", False),
        ("vsock:2:50051", False),
        ("xds:///localhost:1", False),
    ],
)
def test_what_stays_on_this_machine_is_known_by_the_address_alone(address: str, stays: bool) -> None:
    assert is_loopback(address) is stays


async def test_what_is_meant_for_this_machine_goes_past_a_proxy(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    client = AsyncClient(scheduler.address, KEY, timeout=SOON)

    assert await calls_with(scheduler, client) == f"Bearer {KEY}"


async def test_a_key_in_a_file_is_sent_stripped_and_read_anew_with_each_call(
    scheduler: FakeScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    monkeypatch.setenv("VISIONJOBS_API_KEY_FILE", str(file))

    async with AsyncClient(scheduler.address) as client:
        await client.list_lanes()
        file.write_text("vj_new\n")
        await client.list_lanes()
        file.write_text("")
        await client.list_lanes()
        file.unlink()
        await client.list_lanes()

    assert [metadata["authorization"] for metadata in scheduler.metadata] == [
        f"Bearer {KEY}",
        "Bearer vj_new",
        "Bearer vj_new",
        "Bearer vj_new",
    ]


async def test_a_key_that_is_given_counts_more_than_the_environment(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_API_KEY", "vj_other")
    monkeypatch.setenv("VISIONJOBS_API_KEY_FILE", "/nowhere")

    assert await calls_with(scheduler, AsyncClient(scheduler.address, KEY)) == f"Bearer {KEY}"
    assert await calls_with(scheduler, AsyncClient(scheduler.address, "")) is None


async def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\nsecond line")

    monkeypatch.setenv("VISIONJOBS_API_KEY_FILE", str(file))
    with pytest.raises(ValueError, match="cannot be sent") as caught:
        AsyncClient()
    assert KEY not in repr(caught.value)
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        AsyncClient()
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="no text"):
        AsyncClient()
    monkeypatch.setenv("VISIONJOBS_API_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="cannot be read"):
        AsyncClient()
    monkeypatch.setenv("VISIONJOBS_API_KEY", KEY)
    with pytest.raises(ValueError, match="both set") as caught:
        AsyncClient()
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("name", ["VISIONJOBS_TLS", "VISIONJOBS_INSECURE"])
def test_a_key_in_the_wrong_variable_is_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, KEY)

    with pytest.raises(ValueError, match=f"The setting {name} is wrong") as caught:
        Client()

    assert KEY not in repr(caught.value)


async def test_a_key_is_in_no_error_and_in_no_log(
    scheduler: FakeScheduler, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("VISIONJOBS_API_KEY", KEY)
    scheduler.failures.append(failure("UNAUTHENTICATED", "The API key is unknown.", reason="KEY_INVALID"))

    async with AsyncClient(scheduler.address) as client:
        with pytest.raises(visionjobs.Unauthenticated) as caught:
            await client.list_lanes()
        assert KEY not in repr(vars(client._calls))

    told: list[BaseException | None] = [caught.value, caught.value.__cause__]
    assert all(KEY not in f"{error!r} {error} {vars(error)}" for error in told if error)
    assert KEY not in caplog.text


async def test_a_watch_ends_at_once_with_its_key(scheduler: FakeScheduler, client: AsyncClient) -> None:
    ended = failure("UNAUTHENTICATED", "The API key was revoked.", reason="KEY_INVALID")
    scheduler.streams.append([job_message("j"), ended])
    changes = client.watch("j")
    await anext(changes)

    with pytest.raises(visionjobs.Unauthenticated):
        await anext(changes)

    assert len(scheduler.requests) == 1
