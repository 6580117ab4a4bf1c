"""What no web framework offers: a connection that is reset, cut in the middle of a body, or kept silent."""

import asyncio
import socket
import struct
from collections.abc import Coroutine
from typing import Any, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from devkit.emulator.reply import Ending, Reply

_TRANSPORT = "transport"
# Linger on, for no time: closing then sends RST, and drops what was not sent.
_NO_LINGER = struct.pack("ii", 1, 0)


class Protocol(H11Protocol):
    """Uvicorn's protocol, with the transport in the state of every request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}


class ReplyResponse(Response):
    """Sends a reply, or does to the connection what its ending says."""

    def __init__(self, reply: Reply, *, closing: asyncio.Event) -> None:
        """Take the reply; `closing` ends a silence when the server goes."""
        super().__init__(reply.body, status_code=reply.status, media_type=reply.media_type)
        self._reply = reply
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._reply.ending is Ending.WHOLE:
            await super().__call__(scope, receive, send)
            return
        transport = cast("asyncio.Transport", scope["state"][_TRANSPORT])
        if self._reply.ending is Ending.SILENCE:
            await _until_either(_gone(receive), self._closing.wait())
        if self._reply.ending is Ending.CUT:
            await self._send_half(send)
            transport.close()
        else:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        # The server complains of a response that nobody sent, unless it knows that there is nobody.
        await _gone(receive)

    async def _send_half(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = self._reply.body[: len(self._reply.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _until_either(first: Coroutine[Any, Any, object], second: Coroutine[Any, Any, object]) -> None:
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(first), tasks.create_task(second)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
