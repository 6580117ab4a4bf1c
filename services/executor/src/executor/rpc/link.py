"""The stream to one scheduler, and the images that come over the same connection."""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator

import grpc

from executor.ports import Downlink, ImageSourceAway, ImageUnavailable, Link, LinkBroken, Uplink
from executor.rpc import mapping
from executor.rpc.access import Access, Metadata
from executor.rpc.addresses import Addresses
from executor.rpc.endings import broken
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc

MAX_IMAGE_BYTES = 32 * 1024 * 1024
_FETCH_SECONDS = 60.0

_NO_STATUS_YET = "Internal error from Core"
_STATUS_SECONDS = 0.5

_OPTIONS = [
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Each dial is a new beginning: none waits for the backoff of the one before.
    ("grpc.use_local_subchannel_pool", 1),
    # A host that swallows packets is given up in time for the next address.
    ("grpc.min_reconnect_backoff_ms", 1_500),
]

# The scheduler knows the image or the job otherwise than it said; to ask again would not help.
_REFUSALS = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class SchedulerConnection:
    """Implements ports.Dialer, and ports.ImageSource over the stream's connection. One stream at a time."""

    def __init__(self, addresses: Addresses, access: Access) -> None:
        self._addresses = addresses
        self._access = access
        self._stub: executor_service_pb2_grpc.ExecutorServiceAsyncStub | None = None
        # As the stream's.
        self._metadata: Metadata = ()

    @contextlib.asynccontextmanager
    async def dial(self, turn: int) -> AsyncIterator[Link]:
        target = await self._addresses.pick(turn)
        self._metadata = self._access.metadata()
        async with self._access.channel(target, _OPTIONS) as channel:
            stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
            call = stub.Work(metadata=self._metadata)
            self._stub = stub
            try:
                yield _GrpcLink(target.address, call)
            finally:
                self._stub = None
                call.cancel()

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        if self._stub is None:
            raise ImageSourceAway("No scheduler is connected.")
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                request = pb.FetchImageRequest(sha256=sha256, job_id=job_id)
                return await _bytes(self._stub.FetchImage(request, metadata=self._metadata))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # Not this task was cancelled, but its call, by the end of the stream's channel.
                raise ImageSourceAway(f"The stream broke while the image {sha256} came.") from None
            raise
        except TimeoutError:
            raise ImageSourceAway(f"The image {sha256} did not come within {_FETCH_SECONDS:g} s.") from None
        except grpc.aio.AioRpcError as error:
            message = f"The image {sha256} cannot be fetched: {_reason(error)}"
            if error.code() in _REFUSALS:
                raise ImageUnavailable(message) from None
            raise ImageSourceAway(message) from None


class _GrpcLink:
    """Implements ports.Link."""

    def __init__(self, address: str, call: grpc.aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse]) -> None:
        self._address = address
        self._call = call

    @property
    def address(self) -> str:
        return self._address

    async def send(self, message: Uplink) -> None:
        for request in mapping.requests(message):
            try:
                await self._call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The call ended meanwhile; the status tells why.
                raise await self._ending() from None

    async def receive(self) -> Downlink:
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise broken(error) from None
        if not isinstance(response, pb.WorkResponse):  # grpc.aio.EOF
            raise await self._ending()
        return mapping.downlink(response)

    async def _ending(self) -> LinkBroken:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_SECONDS):
                # A write that meets the end of its call puts this in the place of the status, until that is read.
                while await self._call.details() == _NO_STATUS_YET:  # noqa: ASYNC110 - gRPC tells of no such event
                    await asyncio.sleep(_STATUS_SECONDS / 100)
        return broken(
            grpc.aio.AioRpcError(
                await self._call.code(),
                await self._call.initial_metadata(),
                await self._call.trailing_metadata(),
                await self._call.details() or "the scheduler ended the stream",
            )
        )


async def _bytes(parts: AsyncIterable[pb.FetchImageResponse]) -> bytes:
    data = bytearray()
    async for part in parts:
        data += part.chunk
        if len(data) > MAX_IMAGE_BYTES:
            raise ImageUnavailable(f"The image has more than {MAX_IMAGE_BYTES} bytes.")
    return bytes(data)


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
