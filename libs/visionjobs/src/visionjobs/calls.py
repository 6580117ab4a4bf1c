"""What every method of a client shares: the channel, who calls, and the patience with a scheduler that is away."""

from datetime import timedelta
from typing import TypeVar

import grpc

from visionjobs import connection, retrying
from visionjobs.rpc_errors import translated
from visionjobs.settings import ClientSettings
from visionjobs.v1.admin_service_pb2_grpc import AdminServiceStub
from visionjobs.v1.vision_job_service_pb2_grpc import VisionJobServiceStub

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Calls:
    """Makes calls of both services on one channel. Make it inside a running event loop."""

    def __init__(
        self, address: str | None, api_key: str | None, *, timeout: timedelta, on_retry: retrying.OnRetry | None
    ) -> None:
        """See `AsyncClient`."""
        settings = ClientSettings()
        self._caller = connection.Caller(settings.api_key.get_secret_value() if api_key is None else api_key)
        self._timeout = timeout
        self._on_retry = on_retry
        self.address = address or settings.address
        self._channel = connection.open_channel(self.address)
        self.jobs = VisionJobServiceStub(self._channel)
        self.admin = AdminServiceStub(self._channel)

    async def close(self) -> None:
        """End running calls and close the connection."""
        await self._channel.close()

    async def unary(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer], request: Request, *, fail_fast: bool = False
    ) -> Answer:
        """Call until there is an answer; an Unavailable of the scheduler itself is one too with `fail_fast`."""

        async def attempt(seconds: float) -> Answer:
            with translated():
                return await method(request, timeout=seconds, metadata=self.metadata())

        return await retrying.repeat(attempt, self.outage(), fail_fast=fail_fast)

    def metadata(self) -> connection.Metadata:
        """Return what goes with a call now."""
        return self._caller.metadata()

    def outage(self) -> retrying.Outage:
        """Return what bounds the next stretch of time without an answer."""
        return retrying.Outage(self._timeout, self._on_retry)
