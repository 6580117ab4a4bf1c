"""What executors call."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from runtime.rpc_errors import RpcError
from runtime.tasks import task_group
from scheduler.errors import ProtocolViolation
from scheduler.fleet import Session
from scheduler.images import AssignedImages
from scheduler.rpc import work_mapping
from scheduler.rpc.gate import caller
from scheduler.work import Work
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc

_CHUNK_BYTES = 256 * 1024
_HELLO_SECONDS = 10.0

_Context = Any
"""grpc.aio.ServicerContext; the generated base class asks for both flavours at once."""


class ExecutorServicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Maps the Work stream to the use case."""

    def __init__(self, *, work: Work, images: AssignedImages) -> None:
        self._work = work
        self._images = images

    async def Work(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: _Context
    ) -> AsyncIterator[pb.WorkResponse]:
        del context
        session = await self._open(request_iterator)
        try:
            # An abort, because the call was ended from outside: see runtime.ending.
            async with task_group(ProtocolViolation, grpc.aio.AbortError) as tasks:
                reader = tasks.create_task(self._read(session, request_iterator))
                while items := await session.outbox.take():
                    for message in work_mapping.downlinks(items):
                        yield message
                reader.cancel()
        finally:
            self._work.close(session)
        if session.outbox.closed_because:
            raise RpcError(grpc.StatusCode.UNAVAILABLE, "STREAM_CLOSED", session.outbox.closed_because)

    async def FetchImage(  # noqa: N802
        self, request: pb.FetchImageRequest, context: _Context
    ) -> AsyncIterator[pb.FetchImageResponse]:
        del context
        data = await self._images.get(request.job_id, request.sha256, executor_client=caller().client_id)
        for start in range(0, len(data), _CHUNK_BYTES):
            yield pb.FetchImageResponse(chunk=data[start : start + _CHUNK_BYTES])

    async def _open(self, request_iterator: AsyncIterator[pb.WorkRequest]) -> Session:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                first = await anext(aiter(request_iterator), None)
        except TimeoutError:
            first = None
        if first is None or not first.HasField("hello"):
            raise ProtocolViolation("The first message of the stream must carry hello.")
        info, held = work_mapping.hello(first.hello, client_id=caller().client_id)
        message = work_mapping.uplink(first)
        session = await self._work.open(info, held)
        try:
            await self._work.handle(session, message)
        except BaseException:
            self._work.close(session)
            raise
        return session

    async def _read(self, session: Session, request_iterator: AsyncIterator[pb.WorkRequest]) -> None:
        messages = aiter(request_iterator)
        while True:
            try:
                async with asyncio.timeout(self._work.silence_seconds):
                    message = await anext(messages, None)
            except TimeoutError:
                session.outbox.close("The executor was silent for too long.")
                return
            if message is None:
                session.outbox.close("The executor ended the stream.")
                return
            if message.HasField("hello"):
                raise ProtocolViolation("hello is allowed only in the first message.")
            await self._work.handle(session, work_mapping.uplink(message))
