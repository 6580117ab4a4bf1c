"""TLS as both sides of a connection meet it."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devkit.certificates import Authority, CertificateFiles
from runtime.certificates import PemFile
from runtime.health_check import is_serving
from runtime.serving import GrpcServer
from runtime.tls import ClientTls, ServerTls

PATIENCE_SECONDS = 20.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "one")


@pytest.fixture
def other_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "two")


@pytest.fixture
def files(authority: Authority) -> CertificateFiles:
    return authority.issue("server", "localhost", "127.0.0.1")


def server_tls(files: CertificateFiles, client_ca: Path | None = None) -> ServerTls:
    return ServerTls(
        certificate=PemFile("X_CERTIFICATE_FILE", files.certificate),
        key=PemFile("X_KEY_FILE", files.key),
        client_ca=None if client_ca is None else PemFile("X_CLIENT_CA_FILE", client_ca),
    )


def client_tls(ca: Path, files: CertificateFiles | None = None) -> ClientTls:
    return ClientTls(
        ca=PemFile("X_CA_FILE", ca),
        certificate=None if files is None else PemFile("X_CERTIFICATE_FILE", files.certificate),
        key=None if files is None else PemFile("X_KEY_FILE", files.key),
    )


class Served:
    """A gRPC server that is well."""

    def __init__(self, tls: ServerTls) -> None:
        self.tls = tls
        self.address = ""
        self._server = GrpcServer(address="127.0.0.1:0", translate=lambda _: None, tls=tls)

    async def start(self) -> None:
        self.address = await self._server.start(())
        await self._server.set_serving(serving=True)

    async def stop(self) -> None:
        await self._server.stop(0)


@pytest.fixture
async def served(files: CertificateFiles) -> AsyncIterator[Served]:
    served = Served(server_tls(files))
    await served.start()
    yield served
    await served.stop()


@pytest.fixture
def client_ca(tmp_path: Path, authority: Authority) -> Path:
    path = tmp_path / "client-ca.pem"
    path.write_bytes(authority.file.read_bytes())
    return path


@pytest.fixture
async def mutual(files: CertificateFiles, client_ca: Path) -> AsyncIterator[Served]:
    served = Served(server_tls(files, client_ca))
    await served.start()
    yield served
    await served.stop()


async def problem_of(served: Served, client: ClientTls) -> str:
    """Dial anew; return why the call failed, empty if it did not."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(served.address, client.credentials(), options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(  # type: ignore[attr-defined]  # the stubs package forgot it
                health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
    return ""


async def test_a_client_that_trusts_the_authority_is_served(served: Served, authority: Authority) -> None:
    assert not await problem_of(served, client_tls(authority.file))


async def test_a_client_that_trusts_another_authority_does_not_go_on(
    served: Served, other_authority: Authority
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in await problem_of(served, client_tls(other_authority.file))


async def test_roots_by_openssls_own_variable_are_the_default(served: Served, authority: Authority) -> None:
    assert not await problem_of(served, ClientTls(default_ca=PemFile("SSL_CERT_FILE", authority.file)))
    assert "CERTIFICATE_VERIFY_FAILED" in await problem_of(served, ClientTls())


async def test_a_certificate_that_is_replaced_is_served_without_a_restart(
    served: Served, files: CertificateFiles, authority: Authority, other_authority: Authority
) -> None:
    assert not await problem_of(served, client_tls(authority.file))
    files.replace_by(other_authority.issue("server", "127.0.0.1"))

    assert not await problem_of(served, client_tls(other_authority.file))
    assert await problem_of(served, client_tls(authority.file))


async def test_while_only_half_of_a_pair_is_written_the_old_one_is_served(
    served: Served, files: CertificateFiles, authority: Authority
) -> None:
    new = authority.issue("new", "127.0.0.1")
    files.certificate.write_bytes(new.certificate.read_bytes())

    assert not await problem_of(served, client_tls(authority.file))

    files.key.write_bytes(new.key.read_bytes()[:40])

    assert not await problem_of(served, client_tls(authority.file))


async def test_mutual_tls_serves_a_client_with_a_certificate_of_the_authority_alone(
    mutual: Served, authority: Authority, other_authority: Authority
) -> None:
    assert not await problem_of(mutual, client_tls(authority.file, authority.issue("client")))
    assert await problem_of(mutual, client_tls(authority.file))
    assert await problem_of(mutual, client_tls(authority.file, other_authority.issue("client")))


async def test_the_authority_of_clients_is_replaced_without_a_restart(
    mutual: Served, client_ca: Path, authority: Authority, other_authority: Authority
) -> None:
    old, new = authority.issue("client"), other_authority.issue("client")
    assert not await problem_of(mutual, client_tls(authority.file, old))

    client_ca.write_bytes(other_authority.file.read_bytes())

    assert not await problem_of(mutual, client_tls(authority.file, new))
    assert await problem_of(mutual, client_tls(authority.file, old))


async def test_a_client_presents_the_certificate_that_its_files_hold_at_the_dial(
    mutual: Served, authority: Authority, other_authority: Authority
) -> None:
    own = other_authority.issue("client")
    client = client_tls(authority.file, own)
    assert await problem_of(mutual, client)

    own.replace_by(authority.issue("client"))

    assert not await problem_of(mutual, client)


async def test_a_health_check_needs_the_servers_own_files_alone(served: Served, files: CertificateFiles) -> None:
    assert await is_serving(served.address, tls=server_tls(files))
    assert not await is_serving(served.address)


async def test_a_health_check_asks_no_proxy(
    served: Served, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert await is_serving(served.address, tls=server_tls(files))


async def test_a_health_check_passes_mutual_tls_whoever_signed_the_servers_certificate(
    files: CertificateFiles, other_authority: Authority
) -> None:
    served = Served(server_tls(files, other_authority.file))
    await served.start()
    try:
        assert await is_serving(served.address, tls=server_tls(files, other_authority.file))
    finally:
        await served.stop()


async def test_a_health_check_does_not_trust_who_took_the_servers_place(
    served: Served, other_authority: Authority
) -> None:
    expected = server_tls(other_authority.issue("server", "localhost"))

    assert not await is_serving(served.address, tls=expected)


async def test_a_server_of_a_host_that_its_certificate_does_not_name_is_still_checked(authority: Authority) -> None:
    files = authority.issue("server", "*.scheduler.example")
    served = Served(server_tls(files))
    await served.start()
    try:
        assert await is_serving(served.address, tls=server_tls(files))
    finally:
        await served.stop()


async def test_an_expired_certificate_is_not_healthy(authority: Authority) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    files = authority.issue("server", "127.0.0.1", expire_time=yesterday)
    served = Served(server_tls(files))
    await served.start()
    try:
        assert not await is_serving(served.address, tls=server_tls(files))
    finally:
        await served.stop()


async def test_a_context_for_http_serves_what_its_files_hold_at_the_handshake(
    files: CertificateFiles, authority: Authority, other_authority: Authority
) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def heard(ca: Path, host: str | None = "localhost") -> bytes:
        context = ssl.create_default_context(cafile=ca)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        said = await reader.read()
        writer.close()
        return said

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_tls(files).http_context())
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await heard(authority.file) == b"hello"
        # A client that asks for an address names no server.
        assert await heard(authority.file, "127.0.0.1") == b"hello"

        new = other_authority.issue("new", "localhost", "127.0.0.1")
        files.certificate.write_bytes(new.certificate.read_bytes())
        assert await heard(authority.file) == b"hello"

        files.key.write_bytes(new.key.read_bytes())
        assert await heard(other_authority.file) == b"hello"
        assert await heard(other_authority.file, "127.0.0.1") == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            await heard(authority.file)
