import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scheduler.http import server

SECRET = "a-link-that-nobody-may-log"
LARGE = "x" * 50_000_000
REQUEST = b"GET /small HTTP/1.1\r\nHost: port\r\n\r\n"


async def _small(request: Request) -> PlainTextResponse:
    return PlainTextResponse("small")


async def _large(request: Request) -> PlainTextResponse:
    return PlainTextResponse(LARGE)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    # Both ends are in this process, which may not have many files open.
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    app = Starlette(routes=[Route("/small", _small, methods=["GET", "POST"]), Route("/large", _large)])
    async with server.serving("127.0.0.1:0", app) as address:
        yield int(address.rpartition(":")[2])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ends(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server ends the connection."""
    received = bytearray()
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                received += data
    return bytes(received)


async def answer(port: int) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        return await reader.readuntil(b"small")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begun", [b"", b"GET /small HT", REQUEST[:-2], b"GET /small HTTP/1.1\r\nX: "])
async def test_a_request_that_does_not_come_ends_its_connection(port: int, begun: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(begun)

        assert await ends(reader) == b""

    assert b"200 OK" in await answer(port)


@pytest.mark.usefixtures("impatient")
async def test_a_body_that_does_not_end_is_answered_and_ends_its_connection(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST /small HTTP/1.1\r\nHost: port\r\nContent-Length: 1000000\r\n\r\nand then")

        assert b"200 OK" in await ends(reader)


@pytest.mark.usefixtures("impatient")
async def test_an_answer_that_is_not_taken_ends_its_connection(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: port\r\n\r\n")
        await reader.readuntil(b"200 OK")
        # Nobody reads, so the buffers of both ends are full until the server gives up; what they hold still comes.
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while (await answer(port))[-5:] == b"small" and await _is_open(port, writer):
                await asyncio.sleep(0)
        reader._transport.resume_reading()  # type: ignore[attr-defined]

        assert len(await ends(reader)) < len(LARGE)


async def _is_open(port: int, writer: asyncio.StreamWriter) -> bool:
    """Say whether the server's end of a connection is there."""
    local = writer.get_extra_info("sockname")[1]
    for line in (await asyncio.to_thread(_tcp_table)).splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[2].endswith(f":{local:04X}"):
            return fields[3] == "01"
    return False


def _tcp_table() -> str:
    return Path("/proc/net/tcp").read_text()


async def test_a_connection_is_used_again_and_each_request_has_its_own_time(port: int) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST)
            assert b"200 OK" in await reader.readuntil(b"small")
        writer.write(REQUEST * 5)
        for _ in range(5):
            assert b"200 OK" in await reader.readuntil(b"small")


async def test_headers_without_an_end_are_refused(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET /small HTTP/1.1\r\nX: " + b"x" * 100_000)

        received = await ends(reader)

    assert received == b"" or b"400 Bad Request" in received
    assert b"200 OK" in await answer(port)


async def test_too_many_connections_are_answered_503_and_many_more_are_not_taken(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connected(port)) for _ in range(2 * server.MAX_CONNECTIONS)]
        async with connected(port) as (reader, _):
            assert await ends(reader) == b""
        reader, writer = held[0]
        writer.write(REQUEST)
        assert b"503 Service Unavailable" in await ends(reader)
    async with asyncio.timeout(10):
        while b"200 OK" not in await _any_answer(port):
            await asyncio.sleep(0.01)


async def _any_answer(port: int) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
        return await ends(reader)


async def test_a_client_that_holds_its_answer_up_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_STOP_SECONDS", 0)
    app = Starlette(routes=[Route("/large", _large)])
    async with asyncio.timeout(10):
        async with server.serving("127.0.0.1:0", app) as address:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(b"GET /large HTTP/1.1\r\nHost: port\r\n\r\n")
            await reader.readuntil(b"200 OK")
    writer.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_neither_a_link_nor_a_key_is_logged(port: int, log: pytest.LogCaptureFixture) -> None:
    secret = SECRET.encode()
    async with connected(port) as (reader, writer):
        writer.write(
            b"GET /small?link=%b HTTP/1.1\r\nHost: port\r\nAuthorization: Bearer %b\r\n\r\n" % (secret, secret)
        )
        await reader.readuntil(b"small")
    async with connected(port) as (reader, writer):
        writer.write(b"GET /small?link=%b HTTP/1.1\r\nAuthorization: Bearer %b\r\nbroken\r\n\r\n" % (secret, secret))
        assert b"400 Bad Request" in await ends(reader)

    assert SECRET not in log.text
    assert "Traceback" not in log.text


async def test_an_address_in_use_is_named(port: int) -> None:
    with pytest.raises(OSError, match=f"The address 127.0.0.1:{port} cannot be bound"):
        async with server.serving(f"127.0.0.1:{port}", Starlette()):
            pass
