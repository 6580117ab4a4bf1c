"""With what the executor comes to a real gRPC server, and what it makes of a refusal."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from scheduler_in_process import SchedulerInProcess

from devkit.certificates import Authority, CertificateFiles
from executor.ports import Hello, LinkBroken, LinkRefused, Uplink
from executor.rpc.access import Access
from executor.rpc.addresses import Addresses
from executor.rpc.link import SchedulerConnection
from runtime.certificates import PemFile
from runtime.secret_files import read_secret
from runtime.tls import ClientTls, ServerTls
from visionjobs.v1 import executor_service_pb2_grpc

HELLO = Hello(executor_id="e", host="h", version="1", capacity=3, lanes=("gemini/*",))
KEY = "vj_0123456789ab_secret"


class Guard(grpc.aio.ServerInterceptor):
    """Keeps what callers present, and refuses every call while it has a status to do so with."""

    def __init__(self) -> None:
        self.presented: list[str | bytes | None] = []
        self.status: status_pb2.Status | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        self.presented.append(dict(handler_call_details.invocation_metadata or ()).get("authorization"))
        status = self.status
        if status is None:
            return await continuation(handler_call_details)

        async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort_with_status(rpc_status.to_status(status))

        return grpc.stream_stream_rpc_method_handler(refuse)


class Guarded:
    """A scheduler behind a guard."""

    def __init__(self) -> None:
        self.guard = Guard()
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self, tls: ServerTls | None = None) -> AsyncIterator[Guarded]:
        server = grpc.aio.server(interceptors=[self.guard])
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(SchedulerInProcess(), server)
        if tls is None:
            self.port = server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = server.add_secure_port("127.0.0.1:0", tls.grpc_credentials())
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


@pytest.fixture
async def open_door() -> AsyncIterator[Guarded]:
    async with Guarded().serving() as guarded:
        yield guarded


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "one")


@pytest.fixture
def other_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "two")


def server_tls(files: CertificateFiles, client_ca: Path | None = None) -> ServerTls:
    return ServerTls(
        certificate=PemFile("CERTIFICATE", files.certificate),
        key=PemFile("KEY", files.key),
        client_ca=None if client_ca is None else PemFile("CLIENT_CA", client_ca),
    )


def trusting(authority: Authority, own: CertificateFiles | None = None) -> ClientTls:
    return ClientTls(
        ca=PemFile("EXECUTOR_TLS_CA_FILE", authority.file),
        certificate=None if own is None else PemFile("EXECUTOR_TLS_CERTIFICATE_FILE", own.certificate),
        key=None if own is None else PemFile("EXECUTOR_TLS_KEY_FILE", own.key),
    )


async def come(address: str, access: Access) -> None:
    async with SchedulerConnection(Addresses([address]), access).dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        assert (await link.receive()).welcome is not None


GARBLED = status_pb2.Status(
    code=code_pb2.UNAUTHENTICATED,
    message="No.",
    details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")],
)


def refusal(code: str, reason: str = "") -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="visionjobs"))
    return status_pb2.Status(code=code_pb2.Code.Value(code), message="No.", details=[detail] if reason else [])


async def test_the_key_is_presented_and_read_anew_for_each_dial(open_door: Guarded, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    access = Access(read_key=lambda: read_secret(file))
    await come(f"127.0.0.1:{open_door.port}", access)
    file.write_text("vj_another")
    await come(f"127.0.0.1:{open_door.port}", access)

    assert open_door.guard.presented == [f"Bearer {KEY}", "Bearer vj_another"]


async def test_an_image_is_asked_for_with_the_key_of_its_stream(open_door: Guarded) -> None:
    connection = SchedulerConnection(Addresses([f"127.0.0.1:{open_door.port}"]), Access(read_key=lambda: KEY))
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()
        open_door.guard.status = refusal("NOT_FOUND")
        with pytest.raises(Exception, match="NOT_FOUND"):
            await connection.fetch("ab", "job")

    assert open_door.guard.presented == [f"Bearer {KEY}"] * 2


async def test_a_key_for_this_machine_goes_by_no_proxy(open_door: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    asked = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")

        await come(f"127.0.0.1:{open_door.port}", Access(read_key=lambda: KEY))

    assert not asked.is_set()


async def test_without_a_key_nothing_is_presented(open_door: Guarded) -> None:
    await come(f"127.0.0.1:{open_door.port}", Access())

    assert open_door.guard.presented == [None]


@pytest.mark.parametrize("content", ["", "schlüssel", "two\nlines"])
async def test_a_key_that_cannot_be_sent_breaks_the_dial_and_is_not_shown(open_door: Guarded, content: str) -> None:
    with pytest.raises(LinkRefused) as caught:
        await come(f"127.0.0.1:{open_door.port}", Access(read_key=lambda: content))

    assert caught.value.reason == "KEY_UNREADABLE"
    assert not content or content not in str(caught.value)


async def test_a_key_file_that_went_away_breaks_the_dial(open_door: Guarded, tmp_path: Path) -> None:
    with pytest.raises(LinkRefused, match="cannot be read"):
        await come(f"127.0.0.1:{open_door.port}", Access(read_key=lambda: read_secret(tmp_path / "missing")))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (refusal("UNAUTHENTICATED", "KEY_INVALID"), "KEY_INVALID"),
        (refusal("PERMISSION_DENIED", "ROLE_MISSING"), "ROLE_MISSING"),
        (refusal("UNAUTHENTICATED"), "UNAUTHENTICATED"),
        (GARBLED, "UNAUTHENTICATED"),
    ],
)
async def test_a_caller_who_is_not_let_in_is_told_from_an_outage(
    open_door: Guarded, status: status_pb2.Status, reason: str
) -> None:
    open_door.guard.status = status

    with pytest.raises(LinkRefused, match="No") as caught:
        await come(f"127.0.0.1:{open_door.port}", Access(read_key=lambda: KEY))

    assert caught.value.reason == reason
    assert KEY not in str(caught.value)


async def test_an_outage_is_no_refusal(open_door: Guarded) -> None:
    open_door.guard.status = refusal("UNAVAILABLE", "OVERLOADED")

    with pytest.raises(LinkBroken) as caught:
        await come(f"127.0.0.1:{open_door.port}", Access())

    assert not isinstance(caught.value, LinkRefused)


async def test_a_scheduler_is_dialled_by_tls_as_the_name_that_was_configured(authority: Authority) -> None:
    tls = server_tls(authority.issue("server", "localhost"))
    async with Guarded().serving(tls) as guarded:
        access = Access(tls=trusting(authority))
        # The name stands for an address that the certificate does not tell of.
        await come(f"dns:///localhost:{guarded.port}", access)

        with pytest.raises(LinkRefused, match="for another host"):
            await come(f"127.0.0.1:{guarded.port}", access)


async def test_a_scheduler_of_another_authority_is_not_trusted(
    authority: Authority, other_authority: Authority
) -> None:
    async with Guarded().serving(server_tls(authority.issue("server", "localhost"))) as guarded:
        with pytest.raises(LinkRefused, match="not signed by a trusted authority") as caught:
            await come(f"localhost:{guarded.port}", Access(tls=trusting(other_authority)))

    assert caught.value.reason == "TLS_DISTRUST"


async def test_a_scheduler_without_tls_is_not_spoken_to_by_tls(open_door: Guarded, authority: Authority) -> None:
    access = Access(read_key=lambda: KEY, tls=trusting(authority))

    with pytest.raises(LinkRefused, match="without TLS"):
        await come(f"localhost:{open_door.port}", access)

    assert open_door.guard.presented == []


async def test_the_executors_own_certificate_is_presented_and_read_anew(
    authority: Authority, other_authority: Authority
) -> None:
    own = other_authority.issue("executor")
    access = Access(tls=trusting(authority, own))
    async with Guarded().serving(server_tls(authority.issue("server", "localhost"), authority.file)) as guarded:
        with pytest.raises(LinkBroken):
            await come(f"localhost:{guarded.port}", access)
        own.replace_by(authority.issue("new"))

        await come(f"localhost:{guarded.port}", access)


async def test_roots_that_cannot_be_read_break_the_dial(authority: Authority, tmp_path: Path) -> None:
    access = Access(tls=ClientTls(default_ca=PemFile("SSL_CERT_FILE", tmp_path / "missing")))

    with pytest.raises(LinkRefused, match="SSL_CERT_FILE"):
        await come("localhost:9", access)
