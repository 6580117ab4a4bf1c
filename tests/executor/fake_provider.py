"""An HTTP server on raw sockets that answers generateContent as a test says, also in ways no server should."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


def response(body: bytes | str, *, status: str = "200 OK", headers: str = "") -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nContent-Type: application/json\r\n{headers}\r\n"
    return head.encode() + content


def answered(text: str, **changes: object) -> bytes:
    """Return a 200 with this text."""
    body: dict[str, object] = {
        "candidates": [
            {
                "content": {"parts": [{"text": "hmm", "thought": True}, {"text": text}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 270,
            "candidatesTokenCount": 12,
            "thoughtsTokenCount": 18,
            "totalTokenCount": 300,
            "cachedContentTokenCount": 5,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 12},
                {"modality": "IMAGE", "tokenCount": 258},
            ],
        },
        "modelVersion": "gemini-fake",
        "responseId": "r-1",
    }
    return response(json.dumps(body | changes))


class FakeProvider:
    """Answers every request with the same bytes, then keeps the connection, or not."""

    def __init__(self) -> None:
        self.answer = answered("{}")
        self.then: Callable[[asyncio.StreamWriter], None] | None = None
        self.before_answer: asyncio.Event | None = None
        self.received: list[Received] = []
        self.arrived = asyncio.Event()
        self.hung_up = asyncio.Event()
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.hung_up.set()
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(head[0], headers, body))
        self.arrived.set()
        if self.before_answer is not None:
            await self._unless_hung_up(reader, self.before_answer)
        writer.write(self.answer)
        await writer.drain()
        if self.then is not None:
            self.then(writer)
            return False
        return True

    async def _unless_hung_up(self, reader: asyncio.StreamReader, event: asyncio.Event) -> None:
        waiting, reading = asyncio.create_task(event.wait()), asyncio.create_task(reader.read(1))
        await asyncio.wait((waiting, reading), return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            waiting.cancel()
            raise ConnectionResetError
        reading.cancel()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def close(writer: asyncio.StreamWriter) -> None:
    """End a connection with FIN."""
    writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[FakeProvider]:
    provider = FakeProvider()
    server = await asyncio.start_server(provider.handle, "127.0.0.1", 0, limit=1024 * 1024)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
