"""What every method of a client shares: the connection, who calls, and the patience with a scheduler that is away."""

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import grpc

from visionjobs import addresses, retrying, settings
from visionjobs.caller import Metadata, caller
from visionjobs.connection import Connection
from visionjobs.rpc_errors import translated
from visionjobs.tls import Tls

if TYPE_CHECKING:
    # The generated code has these types for checkers only.
    from visionjobs.v1.admin_service_pb2_grpc import AdminServiceAsyncStub
    from visionjobs.v1.vision_job_service_pb2_grpc import VisionJobServiceAsyncStub

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Calls:
    """Makes calls of both services. Make it inside a running event loop."""

    def __init__(
        self,
        address: str | None,
        api_key: str | None,
        *,
        tls: Tls | bool | None,
        insecure: bool,
        timeout: timedelta,
        on_retry: retrying.OnRetry | None,
    ) -> None:
        """See `AsyncClient`."""
        environment = settings.load()
        self._caller = caller(api_key, environment)
        self._timeout = timeout
        self._on_retry = on_retry
        self.address = address or environment.address
        chosen_tls = environment.tls_with(wanted=tls)
        addresses.check(self.address)
        if self._caller.has_key and chosen_tls is None and not (insecure or environment.insecure):
            _refuse_eavesdroppers(self.address)
        self._connection = Connection(self.address, chosen_tls)

    @property
    def jobs(self) -> "VisionJobServiceAsyncStub":
        """The calls of backends. Take a method of it for each call anew."""
        return self._connection.line().jobs

    @property
    def admin(self) -> "AdminServiceAsyncStub":
        """The calls of operators, likewise."""
        return self._connection.line().admin

    async def close(self) -> None:
        """End running calls and close the connection."""
        await self._connection.close()

    async def unary(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer], request: Request, *, fail_fast: bool = False
    ) -> Answer:
        """Call until there is an answer; a refusal for the moment is one too with `fail_fast`."""

        async def attempt(seconds: float) -> Answer:
            with translated():
                return await method(request, timeout=seconds, metadata=self.metadata())

        return await retrying.repeat(attempt, self.outage(), fail_fast=fail_fast)

    async def once(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer], request: Request) -> Answer:
        """Call a method that must not be repeated: what came of a call without an answer, only the scheduler knows."""
        with translated():
            return await method(request, timeout=self._timeout.total_seconds(), metadata=self.metadata())

    def metadata(self) -> Metadata:
        """Return what goes with a call now."""
        return self._caller.metadata()

    def outage(self) -> retrying.Outage:
        """Return what bounds the next stretch of time without an answer."""
        return retrying.Outage(self._timeout, self._on_retry)


def _refuse_eavesdroppers(address: str) -> None:
    """Raise ValueError unless what is sent stays on this machine."""
    if not addresses.is_loopback(address):
        raise ValueError(
            f"The API key is not sent to {address} without TLS, for others could read it on the way. Set "
            "VISIONJOBS_TLS=true or VISIONJOBS_TLS_CA_FILE, or VISIONJOBS_INSECURE=true if that is as it should be."
        )
