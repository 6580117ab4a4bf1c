"""The stream to one scheduler, and the call that fetches an image over the same connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import grpc

from executor.ports import Downlink, ImageUnavailable, Link, LinkBroken, Uplink
from executor.rpc import mapping
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A scheduler that restarts is dialled within 2 s; gRPC's own backoff would grow beyond.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

_REFETCH_SECONDS = 0.5


class GrpcDialer:
    """Implements ports.Dialer and, over the connection that is open, ports.ImageSource."""

    def __init__(self) -> None:
        self._stub: executor_service_pb2_grpc.ExecutorServiceAsyncStub | None = None
        self._connected = asyncio.Event()

    @contextlib.asynccontextmanager
    async def dial(self, address: str) -> AsyncIterator[Link]:
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
            self._stub = stub
            self._connected.set()
            link = _GrpcLink()
            call = stub.Work(link.outgoing())
            link.call = call
            try:
                yield link
            finally:
                self._stub = None
                self._connected.clear()
                call.cancel()

    async def fetch(self, job_id: str, sha256: str) -> bytes:
        while True:
            await self._connected.wait()
            try:
                return await self._fetch(job_id, sha256)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise ImageUnavailable(f"An image could not be fetched: {error.details()}") from None
                await asyncio.sleep(_REFETCH_SECONDS)
            except asyncio.CancelledError:
                # A channel that closes cancels its calls: then this task goes on, and asks the next scheduler.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise

    async def _fetch(self, job_id: str, sha256: str) -> bytes:
        data = bytearray()
        assert self._stub is not None
        async for part in self._stub.FetchImage(pb.FetchImageRequest(job_id=job_id, sha256=sha256)):
            data += part.chunk
        return bytes(data)


class _GrpcLink:
    """One stream. What is sent gathers until gRPC asks for the next message, so load makes messages larger."""

    def __init__(self) -> None:
        self.call: grpc.aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse] | None = None
        self._items: list[Uplink] = []
        self._wake = asyncio.Event()

    def send(self, *items: Uplink) -> None:
        self._items.extend(items)
        self._wake.set()

    async def outgoing(self) -> AsyncIterator[pb.WorkRequest]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            items, self._items = self._items, []
            for message in mapping.requests(items):
                yield message

    async def receive(self) -> AsyncIterator[Sequence[Downlink]]:
        assert self.call is not None
        try:
            async for message in self.call:
                yield mapping.downlinks(message)
        except grpc.aio.AioRpcError as error:
            raise LinkBroken(f"{error.code().name}: {error.details()}") from None
        raise LinkBroken("The scheduler ended the stream.")
