"""The door of the gRPC port: who calls, may they, and is there room. Nothing of a request is read before it is open.

Every handler is served as one that takes a stream of requests, because those are called before a message is read.
A call whose key ends while it streams is ended with it.
"""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from runtime import logs
from runtime.ending import end_call
from runtime.rpc_errors import RpcError
from runtime.slow_readers import SlowReaders
from runtime.slow_senders import arriving
from scheduler.admission import Admission, Arrival
from scheduler.callers import ANONYMOUS, Caller, ReflectionAccess
from scheduler.errors import KeyInvalid, RoleMissing, SchedulerError
from scheduler.keyring import Keyring
from scheduler.open_calls import OpenCalls
from scheduler.rpc.access import Access, access_to
from scheduler.rpc.audit import Audit
from scheduler.rpc.errors import translate
from scheduler.rpc.slow_peers import not_reading, upload_stalled

_SCHEME = "bearer "

_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")

_REQUEST_SECONDS = 30.0
"""A call that has brought no request by then ends: it may hold one of few places."""

_PUBLIC = "public_streams"
_MAX_PUBLIC = 1_000

_KEY_ENDED = RpcError(grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", str(KeyInvalid()))

_log = logs.get_logger(__name__)


def caller() -> Caller:
    """Return who makes the call that this task serves."""
    return _caller.get()


def serve(known: Caller) -> None:
    """From now on this task serves a call of this caller."""
    _caller.set(known)


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """A call that streams, and the key that it stands on."""

    caller: Caller
    secret: str | None
    context: Any
    task: asyncio.Task[Any]


class Gate(grpc.aio.ServerInterceptor):
    """Lets calls in, and `run` ends those whose keys end. `on_denied` gets the reason of each that is not let in."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        admission: Admission,
        open_calls: OpenCalls,
        slow_readers: SlowReaders,
        audit: Audit,
        reflection: ReflectionAccess,
        on_denied: Callable[[str], None],
    ) -> None:
        self._keyring = keyring
        self._admission = admission
        self._open_calls = open_calls
        self.slow_readers = slow_readers
        self._public_calls = OpenCalls({_PUBLIC: _MAX_PUBLIC})
        self._audit = audit
        self._reflection = reflection
        self._on_denied = on_denied
        self._streams: set[_Stream] = set()
        self._keys_changed = asyncio.Event()
        keyring.listen(self._keys_changed.set)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        access = access_to(method, self._reflection)
        secret = _secret(handler_call_details.invocation_metadata or ())
        arrival = Arrival()
        visit: _Visit | _PublicVisit = (
            _PublicVisit(gate=self, handler=handler)
            if access.is_open
            else _Visit(gate=self, method=method, access=access, secret=secret, arrival=arrival, handler=handler)
        )
        serialization = {
            "request_deserializer": _decoding(handler.request_deserializer, arrival),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(visit.stream, **serialization)
        return grpc.stream_unary_rpc_method_handler(visit.unary, **serialization)

    @contextlib.asynccontextmanager
    async def admitted(
        self, access: Access, method: str, secret: str | None, arrival: Arrival
    ) -> AsyncIterator[Caller]:
        """Let a call in while the block runs. Raises a SchedulerError if it may not come in."""
        async with contextlib.AsyncExitStack() as admissions:
            try:
                known = await self._keyring.authenticate_after_look(secret)
                _check_role(known, access)
                if access.kind:
                    admissions.enter_context(self._open_calls.counted(known.client_id, access.kind))
                if access.is_submission:
                    # While there are no keys all are one client.
                    client_id = known.client_id if known.role else None
                    is_upload = access.kind == "uploads"
                    place = self._admission.place(arrival, is_upload=is_upload, client_id=client_id)
                    await admissions.enter_async_context(place)
            except SchedulerError as error:
                self._deny(error, method)
                raise
            yield known

    def public_stream(self) -> contextlib.AbstractContextManager[None]:
        """Count a stream that needs no key while the block runs. Raises TooManyCalls."""
        return self._public_calls.counted("", _PUBLIC)

    def check_again(self, method: str, secret: str | None) -> None:
        """Make sure that the key of a call whose request took its time works still. Raises a SchedulerError."""
        try:
            self._keyring.authenticate(secret)
        except SchedulerError as error:
            self._deny(error, method)
            raise

    @contextlib.contextmanager
    def ending_with_key(self, known: Caller, secret: str | None, context: Any) -> Iterator[None]:
        """End the call that this task serves if its key ends while the block runs."""
        task = asyncio.current_task()
        assert task is not None
        stream = _Stream(known, secret, context, task)
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)

    async def recorded(self, method: str, request: Any, change: Callable[[], Awaitable[Any]]) -> Any:
        """Make a change that goes on record."""
        return await self._audit.recorded(caller(), method, request, change)

    async def run(self) -> None:
        """End streams whose keys have ended, until cancelled."""
        while True:
            await self._keys_changed.wait()
            self._keys_changed.clear()
            over = [each for each in self._streams if not self._keyring.still_works(each.caller, each.secret)]
            async with asyncio.TaskGroup() as tasks:
                for stream in over:
                    tasks.create_task(self._end(stream))

    async def _end(self, stream: _Stream) -> None:
        self._streams.discard(stream)
        _log.info("stream_ended_with_key", key_id=stream.caller.key_id, client_id=stream.caller.client_id)
        await end_call(stream.context, stream.task, _KEY_ENDED)

    def _deny(self, error: SchedulerError, method: str) -> None:
        known = translate(error)
        reason = known.reason if known else type(error).__name__
        self._on_denied(reason)
        _log.debug("call_denied", method=method, reason=reason)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One call at the door, and what is behind it."""

    gate: Gate
    method: str
    access: Access
    secret: str | None
    arrival: Arrival
    handler: Any

    async def unary(self, requests: AsyncIterator[Any], context: Any) -> Any:
        async with self.gate.admitted(self.access, self.method, self.secret, self.arrival) as known:
            serve(known)
            with self.gate.ending_with_key(known, self.secret, context):
                if self.handler.request_streaming:
                    chunks = arriving(requests, self.gate.slow_readers.seconds, upload_stalled)
                    return await self.handler.stream_unary(chunks, context)
                request = await self._request(requests)
            if not self.access.is_change:
                return await self.handler.unary_unary(request, context)
            return await self.gate.recorded(self.method, request, lambda: self.handler.unary_unary(request, context))

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async with self.gate.admitted(self.access, self.method, self.secret, self.arrival) as known:
            with self.gate.ending_with_key(known, self.secret, context):
                serve(known)
                if self.handler.request_streaming:
                    responses = self.handler.stream_stream(requests, context)
                else:
                    responses = self.handler.unary_stream(await self._request(requests), context)
                async with contextlib.aclosing(responses):
                    taken = self.gate.slow_readers.watched(responses, context, not_reading(self.method))
                    async for response in taken:
                        yield response

    async def _request(self, requests: AsyncIterator[Any]) -> Any:
        """Return the one request. A caller may open a call and send it much later: what counts is who may call then."""
        request = await _only(requests)
        self.gate.check_again(self.method, self.secret)
        return request


def _check_role(known: Caller, access: Access) -> None:
    """Make sure that a caller has a role for this call; one for nobody is closed while there are no keys, too."""
    if not access.roles or (known.role is not None and known.role not in access.roles):
        role = ANONYMOUS if known.role is None else known.role.name
        raise RoleMissing(role, sorted(role.name for role in access.roles))


@dataclass(frozen=True, slots=True)
class _PublicVisit:
    """A call that anybody may make: of it there are not so many open that others have no room."""

    gate: Gate
    handler: Any

    async def unary(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return await self.handler.unary_unary(await _only(requests), context)

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        with self.gate.public_stream():
            if self.handler.request_streaming:
                responses = self.handler.stream_stream(requests, context)
            else:
                responses = self.handler.unary_stream(await _only(requests), context)
            if inspect.isawaitable(responses):
                # The health service writes to the context.
                await responses
                return
            async with contextlib.aclosing(responses):
                async for response in responses:
                    yield response


async def _only(requests: AsyncIterator[Any]) -> Any:
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            request = await anext(aiter(requests), None)
    except TimeoutError:
        raise RpcError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "REQUEST_LATE",
            f"The request did not come within {_REQUEST_SECONDS:g} s.",
        ) from None
    if request is None:
        raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MISSING", "The call brought no request.")
    return request


def _secret(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Return what stands in the one `authorization: Bearer …`; more than one are none that works."""
    values = [value for name, value in metadata if name == "authorization"]
    if not values:
        return None
    value = values[0] if len(values) == 1 and isinstance(values[0], str) else ""
    return value[len(_SCHEME) :].strip() if value.lower().startswith(_SCHEME) else "?"


def _decoding(deserialize: Callable[[bytes], Any] | None, arrival: Arrival) -> Callable[[bytes], Any] | None:
    """Count what comes, and let what cannot be decoded be the caller's error."""
    if deserialize is None:
        return None

    def decode(data: bytes) -> Any:
        arrival.read(len(data))
        try:
            return deserialize(data)
        except DecodeError:
            raise RpcError(grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE", "The request cannot be decoded.") from None

    return decode
