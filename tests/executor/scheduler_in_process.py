"""A scheduler in the test's own process: keeps what executors say, says what the test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc


class SchedulerInProcess(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Serves the Work stream of one executor at a time; heartbeats are echoed, outcomes acknowledged if `acknowledges`."""

    def __init__(self) -> None:
        self.address = ""
        self.acknowledges = True
        self.heard: list[pb.WorkRequest] = []
        self._to_say: asyncio.Queue[pb.WorkResponse] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.WorkResponse]:  # noqa: N802
        self._to_say = asyncio.Queue()
        welcome = pb.Welcome(session=1)
        welcome.heartbeat_interval.FromMilliseconds(500)
        reading = asyncio.create_task(self._read(request_iterator))
        try:
            yield pb.WorkResponse(welcome=welcome)
            while True:
                yield await self._to_say.get()
        finally:
            reading.cancel()

    async def FetchImage(  # noqa: N802
        self, request: pb.FetchImageRequest, context: Any
    ) -> AsyncIterator[pb.FetchImageResponse]:
        # None ever comes.
        await asyncio.Event().wait()
        yield pb.FetchImageResponse()

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            self.heard.append(request)
            self._changed.set()
            if request.HasField("heartbeat"):
                self.say(pb.WorkResponse(heartbeat=pb.Heartbeat(number=request.heartbeat.number)))
            if request.outcomes and self.acknowledges:
                self.say(pb.WorkResponse(outcome_acks=[outcome.ref for outcome in request.outcomes]))

    def say(self, message: pb.WorkResponse) -> None:
        self._to_say.put_nowait(message)

    @property
    def outcomes(self) -> list[pb.Outcome]:
        return [outcome for request in self.heard for outcome in request.outcomes]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition, which speaks of what was heard, is true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[SchedulerInProcess]:
    scheduler = SchedulerInProcess()
    server = grpc.aio.server()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler, server)
    scheduler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield scheduler
    finally:
        await server.stop(None)
