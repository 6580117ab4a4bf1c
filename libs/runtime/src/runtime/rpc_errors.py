"""Errors as the contract wants them: a canonical code with google.rpc.Status details.

`RpcError` is what an edge raises or a translation returns; `ErrorInterceptor` turns it into the status of the call.
"""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import datetime
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from runtime import logs

_DOMAIN = "visionjobs"
_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its dotted path from the request's root, and what is wrong with it."""

    path: str
    description: str


@dataclass(eq=False)
class RpcError(Exception):
    """A call that ends with an error status.

    Attributes:
        code: The canonical code.
        reason: UPPER_SNAKE, for programs.
        message: For people.
        metadata: The dynamic parts of the message.
        violations: The bad fields, for INVALID_ARGUMENT.
        retry_after: When it is worth to try again, for retryable errors.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[FieldViolation] = ()
    retry_after: datetime.timedelta | None = None

    def status(self) -> status_pb2.Status:
        """Return the status with its details packed."""
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=_DOMAIN, metadata=self.metadata)
        ]
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for violation in self.violations:
                bad.field_violations.add(field=violation.path, description=violation.description)
            details.append(bad)
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromTimedelta(self.retry_after)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = [any_pb2.Any() for _ in details]
        for container, detail in zip(packed, details, strict=True):
            container.Pack(detail)
        return status_pb2.Status(code=code_pb2.Code.Value(self.code.name), message=self.message, details=packed)


Translation = Callable[[Exception], RpcError | None]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends every call that raised with the right status, and logs what nobody foresaw."""

    def __init__(self, translate: Translation) -> None:
        self._translate = translate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        serialization = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, method), **serialization)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.stream_unary, method), **serialization)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream, method), **serialization)
        return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, method), **serialization)

    def _unary(self, behaviour: Any, method: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - every exception becomes a status
                await self._abort(context, error, method)

        return call

    def _stream(self, behaviour: Any, method: str) -> Any:
        if not inspect.isasyncgenfunction(behaviour):
            # Health and reflection write to the context instead of yielding; they have no errors of ours.
            return behaviour

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                async for response in behaviour(request, context):
                    yield response
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - every exception becomes a status
                await self._abort(context, error, method)

        return call

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
        known = error if isinstance(error, RpcError) else self._translate(error)
        if known is None:
            _log.error("rpc_failed", method=method, exc_info=error)
            known = RpcError(grpc.StatusCode.INTERNAL, "INTERNAL", "The server failed; its log says why.")
        await context.abort_with_status(rpc_status.to_status(known.status()))
        raise AssertionError
