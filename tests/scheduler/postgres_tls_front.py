"""TLS in front of a Postgres that was built without: it negotiates as Postgres does, and passes on what it decrypts."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator

# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_WILLING = b"S"
_CHUNK_BYTES = 64 * 1024


class TlsFront:
    """Takes connections that ask for TLS; others are closed.

    Attributes:
        port: Where, on 127.0.0.1.
        connections: How many are open.
    """

    def __init__(self, context: ssl.SSLContext, *, backend_port: int) -> None:
        self.port = 0
        self.connections = 0
        self._context = context
        self._backend_port = backend_port

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["TlsFront"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that does not trust the certificate goes away in the middle.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return
            writer.write(_WILLING)
            await writer.start_tls(self._context)
            self.connections += 1
            try:
                await self._relay(reader, writer)
            finally:
                self.connections -= 1

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", self._backend_port)
        with contextlib.closing(backend_writer):
            ways = [
                asyncio.create_task(_pass_on(reader, backend_writer)),
                asyncio.create_task(_pass_on(backend_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
