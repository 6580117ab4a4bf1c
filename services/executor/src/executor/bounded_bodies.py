"""Bounds what is read of a provider's HTTP response, also of one that is compressed although nobody asked for it.

Headers are bounded by the HTTP library itself, to 100 KiB.
"""

import zlib
from collections.abc import AsyncIterable, AsyncIterator

import httpx2

from executor.http_calls import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from executor.ports import UnreadableAnswer

HEADERS = {"Accept-Encoding": "identity"}
"""What a client says so that nothing comes compressed."""

_PLAIN = ("", "identity")
_DEFLATED = ("gzip", "x-gzip", "deflate")
# Both the headers of zlib and those of gzip.
_ANY_WINDOW = 47


async def bound(response: httpx2.Response) -> None:
    """Let no more than its bound be read of a response, and that as UTF-8: an event hook, to run before all others.

    Reading a 200 that is longer, or cannot be decompressed, raises UnreadableAnswer; an error's body just ends.
    """
    encoding = response.headers.pop("content-encoding", "").strip().lower()
    # Left alone, the library takes the codec that the response names, however slow it is.
    response.encoding = "utf-8"
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    is_answer = response.status_code == httpx2.codes.OK
    response.stream = _BoundedStream(response.stream, encoding=encoding, is_answer=is_answer)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, *, encoding: str, is_answer: bool) -> None:
        self._inner = inner
        self._encoding = encoding
        self._is_answer = is_answer
        self._most = MAX_ANSWER_BYTES if is_answer else MAX_ERROR_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        beginning = bytearray()
        size = 0
        try:
            async for chunk in self._decoded():
                beginning += chunk[: MAX_ERROR_BYTES - len(beginning)]
                # An error's body ends at its bound.
                yield chunk if self._is_answer else chunk[: self._most - size]
                size += len(chunk)
                if size > self._most:
                    raise _Unreadable(f"is larger than {self._most // 1024**2} MiB")
        except _Unreadable as error:
            if self._is_answer:
                body = beginning.decode(errors="replace")
                raise UnreadableAnswer(f"The provider's answer {error}.", body=body) from None

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _decoded(self) -> AsyncIterable[bytes]:
        if self._encoding in _PLAIN:
            return self._inner
        if self._encoding in _DEFLATED:
            return self._inflated()
        raise _Unreadable("is compressed in a way that nobody asked for")

    async def _inflated(self) -> AsyncIterator[bytes]:
        """Inflate piece by piece: a few bytes may stand for gigabytes."""
        inflater = zlib.decompressobj(_ANY_WINDOW)
        async for chunk in self._inner:
            rest = chunk
            while rest and not inflater.eof:
                try:
                    plain = inflater.decompress(rest, MAX_ERROR_BYTES)
                except zlib.error:
                    raise _Unreadable("cannot be decompressed") from None
                rest = inflater.unconsumed_tail
                if plain:
                    yield plain
        if not inflater.eof:
            raise _Unreadable("ends in the middle of its compressed text")


class _Unreadable(Exception):
    """The message says what is wrong with the body."""
