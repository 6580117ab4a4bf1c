"""Peers that do not read, and peers that do not send, over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import wrappers_pb2

from runtime.clock import SystemClock
from runtime.rpc_errors import ErrorInterceptor, RpcError
from runtime.slow_readers import SlowReaders
from runtime.slow_senders import arriving

SLOW = RpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER", "The peer did not read.")
METHOD = "/test.Streams/Serve"
# More than the windows of a stream, so that they fill up.
LARGE = wrappers_pb2.BytesValue(value=bytes(3_000_000))

Handler = Callable[[AsyncIterator[wrappers_pb2.BytesValue], Any], AsyncIterator[wrappers_pb2.BytesValue]]


def stalled() -> RpcError:
    return RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "STALLED", "The peer did not send.")


@dataclass
class Streams:
    """What serves the test's streams; `open` is how many are being served now."""

    slow_readers: SlowReaders = field(default_factory=lambda: SlowReaders(seconds=0.5, clock=SystemClock()))
    open: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def counted(self) -> Any:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self.ended.set()

    async def large(self, count: int) -> AsyncIterator[wrappers_pb2.BytesValue]:
        with self.counted():
            for _ in range(count):
                yield LARGE

    async def send(self, requests: Any, context: Any) -> AsyncIterator[wrappers_pb2.BytesValue]:
        count = int((await anext(aiter(requests))).value)
        async for message in self.slow_readers.watched(self.large(count), context, SLOW):
            yield message

    async def receive(self, requests: Any, context: Any) -> AsyncIterator[wrappers_pb2.BytesValue]:
        del context
        with self.counted():
            async for request in arriving(requests, 0.3, stalled):
                yield request


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor(lambda _: None)])
    behaviour = grpc.stream_stream_rpc_method_handler(
        handler,
        request_deserializer=wrappers_pb2.BytesValue.FromString,
        response_serializer=wrappers_pb2.BytesValue.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Streams", {"Serve": behaviour})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def calling(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=wrappers_pb2.BytesValue.SerializeToString,
            response_deserializer=wrappers_pb2.BytesValue.FromString,
        )()
        yield call
        call.cancel()


@contextlib.asynccontextmanager
async def running(slow_readers: SlowReaders) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(slow_readers.run())
        yield
        loop.cancel()


async def test_a_stream_whose_peer_does_not_read_ends_and_frees_what_it_held() -> None:
    streams = Streams()
    async with serving(streams.send) as address, running(streams.slow_readers), calling(address) as call:
        await call.write(wrappers_pb2.BytesValue(value=b"50"))
        await call.read()
        assert streams.open == 1

        async with asyncio.timeout(10):
            await streams.ended.wait()

        assert streams.open == 0
        # What was on its way comes, and then why there is no more.
        received = 1
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            async with asyncio.timeout(10):
                while await call.read() is not grpc.aio.EOF:
                    received += 1
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert received < 20


async def test_a_peer_that_reads_slowly_but_in_time_gets_everything() -> None:
    clock = CountingClock()
    streams = Streams(SlowReaders(seconds=1, clock=clock))
    async with serving(streams.send) as address, running(streams.slow_readers), calling(address) as call:
        await call.write(wrappers_pb2.BytesValue(value=b"12"))
        received = 0
        while await call.read() is not grpc.aio.EOF:
            received += 1
            # Two looks: a fifth of the time that a message may wait.
            await clock.slept(2 * received)

        assert received == 12
        assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_that_has_nothing_to_tell_is_not_slow() -> None:
    """Its peer reads, and waits for longer than a message may."""
    told = asyncio.Event()

    async def quiet(requests: Any, context: Any) -> AsyncIterator[wrappers_pb2.BytesValue]:
        del requests

        async def messages() -> AsyncIterator[wrappers_pb2.BytesValue]:
            yield LARGE
            await told.wait()
            yield LARGE

        async for message in slow_readers.watched(messages(), context, SLOW):
            yield message

    clock = CountingClock()
    slow_readers = SlowReaders(seconds=0.2, clock=clock)
    async with serving(quiet) as address, running(slow_readers), calling(address) as call:
        await call.read()
        async with asyncio.timeout(10):
            await clock.slept(30)
        told.set()

        assert await call.read() == LARGE


async def test_a_peer_that_goes_away_leaves_nothing_behind() -> None:
    streams = Streams()
    async with serving(streams.send) as address, running(streams.slow_readers):
        async with calling(address) as call:
            await call.write(wrappers_pb2.BytesValue(value=b"50"))
            await call.read()
        async with asyncio.timeout(10):
            await streams.ended.wait()

    assert streams.open == 0


async def test_a_peer_that_stops_sending_is_told_so() -> None:
    streams = Streams()
    async with serving(streams.receive) as address, calling(address) as call:
        await call.write(LARGE)
        assert await call.read() == LARGE

        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            async with asyncio.timeout(10):
                await call.read()

    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert streams.open == 0


async def test_a_peer_that_has_sent_everything_is_served_to_the_end() -> None:
    streams = Streams()
    async with serving(streams.receive) as address, calling(address) as call:
        await call.write(LARGE)
        await call.done_writing()

        assert await call.read() == LARGE
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


class CountingClock(SystemClock):
    """Tells when somebody has slept so often."""

    def __init__(self) -> None:
        self._naps = 0
        self._changed = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        async with self._changed:
            self._naps += 1
            self._changed.notify_all()

    async def slept(self, times: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._naps >= times)
