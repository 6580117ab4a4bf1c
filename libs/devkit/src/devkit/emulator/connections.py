"""What no web framework offers: a connection that is reset, cut in the middle of a body, kept silent, or kept waiting."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from devkit.emulator.gzip_bombs import blanks, gzipped
from devkit.emulator.reply import JSON, Ending, Fate, Reply

_TRANSPORT = "transport"
# Linger on, for no time: closing then sends RST, and drops what was not sent.
_NO_LINGER = struct.pack("ii", 1, 0)
_PIECE_BYTES = 64 * 1024
_TRICKLES = 50


class Protocol(H11Protocol):
    """Uvicorn's protocol, with the transport in the state of every request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}


class Connection:
    """The connection of one call; it sends one reply, or does what the reply's ending says."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, closing: asyncio.Event) -> None:
        """Take the call's own ASGI channels; `closing` ends a silence when the server goes."""
        self._transport = cast("asyncio.Transport", scope["state"][_TRANSPORT])
        self._receive = receive
        self._send = send
        self._closing = closing
        self._has_begun = False

    async def send_blank_line(self) -> None:
        """Keep the caller waiting with the head of a good reply and nothing in it."""
        if self._transport.is_closing():
            return
        await self._begin(200, [(b"content-type", JSON.encode())])
        await self._send({"type": "http.response.body", "body": b"\n", "more_body": True})

    async def send(self, reply: Reply) -> Fate:
        """Send a reply, and return what became of it."""
        if reply.ending is Ending.SILENCE:
            await _until_either(self._gone(), self._closing.wait())
        if self._transport.is_closing():
            await self._gone()
            return Fate.CUT if self._has_begun else Fate.UNREAD
        if not reply.is_sent or (self._has_begun and reply.status != 200):
            return await self._reset()
        return await self._send_whole(reply) if reply.ending is Ending.WHOLE else await self._send_half(reply)

    async def _send_whole(self, reply: Reply) -> Fate:
        body, padding_bytes = reply.body, reply.padding_bytes
        if reply.gzipped:
            body, padding_bytes = await asyncio.to_thread(gzipped, body, padding_bytes), 0
        await self._begin(reply.status, _headers(reply, len(body) + padding_bytes))
        pieces = _pieces(body, padding_bytes, trickled=reply.trickle_seconds > 0)
        pause = reply.trickle_seconds / _TRICKLES
        async for piece in self._with_pauses(pieces, pause):
            if self._transport.is_closing():
                await self._gone()
                return Fate.CUT
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if self._transport.is_closing():
            await self._gone()
            return Fate.CUT
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        return Fate.WHOLE

    async def _with_pauses(self, pieces: Iterator[bytes], pause: float) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            if pause and not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closing.wait()

    async def _send_half(self, reply: Reply) -> Fate:
        await self._begin(reply.status, _headers(reply, len(reply.body)))
        half = reply.body[: len(reply.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        self._transport.close()
        await self._gone()
        return Fate.CUT

    async def _reset(self) -> Fate:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
        await self._gone()
        return Fate.RESET

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _gone(self) -> None:
        """Wait until the server knows that there is nobody: else it complains of a response that nobody sent."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _headers(reply: Reply, length: int) -> list[tuple[bytes, bytes]]:
    headers = {"content-type": reply.media_type, **reply.headers, "content-length": str(length)}
    if reply.gzipped:
        headers["content-encoding"] = "gzip"
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _pieces(body: bytes, padding_bytes: int, *, trickled: bool) -> Iterator[bytes]:
    """Yield a body in pieces, with blanks after its first byte."""
    if not padding_bytes:
        size = max(1, -(-len(body) // _TRICKLES)) if trickled else _PIECE_BYTES
        yield from (body[start : start + size] for start in range(0, len(body), size))
        return
    yield body[:1]
    yield from blanks(padding_bytes, piece_bytes=_PIECE_BYTES)
    yield body[1:]


async def _until_either(first: Coroutine[Any, Any, object], second: Coroutine[Any, Any, object]) -> None:
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(first), tasks.create_task(second)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
