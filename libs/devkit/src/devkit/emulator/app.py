"""The emulator's HTTP face: Gemini's path in both API versions, DeepSeek's, and control paths of its own."""

import asyncio
import datetime
import json
from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from devkit.emulator import errors
from devkit.emulator.connections import Connection
from devkit.emulator.controls import Controls, json_response, routes
from devkit.emulator.deepseek.chat import DeepSeek
from devkit.emulator.exchange import Call, Exchange
from devkit.emulator.fault_kinds import providers_of
from devkit.emulator.fault_script import FaultScript
from devkit.emulator.faults import Fault, read_fault, read_kind
from devkit.emulator.gemini import Gemini
from devkit.emulator.latency import Latency
from devkit.emulator.models import Models
from devkit.emulator.quotas import Quotas
from devkit.emulator.refused import Refused
from devkit.emulator.settings import EmulatorSettings

MAX_BODY_BYTES = 100 * 1024 * 1024
FAULT_HEADER = "x-emulator-fault"

_API_VERSIONS = ("v1", "v1beta")
_DEEPSEEK_PATHS = {"": "/chat/completions", "v1": "/v1/chat/completions"}


def create_app(settings: EmulatorSettings | None = None) -> Starlette:
    """Return an emulator with a ledger of its own; `serving.serving` serves it."""
    chosen = settings or EmulatorSettings()
    faults = FaultScript(seed=chosen.seed)
    for fault in chosen.faults:
        faults.add(fault)
    controls = Controls(
        faults=faults,
        quotas=Quotas(chosen.limits),
        latency=Latency(chosen.all_latencies, seed=chosen.seed),
        models=Models(gemini=chosen.models, deepseek=chosen.deepseek_models),
    )
    closing = asyncio.Event()

    def close() -> None:
        closing.set()
        controls.close()

    app = Starlette(routes=[*_provider_routes(controls, closing), *routes(controls)])
    app.state.close = close
    return app


def _provider_routes(controls: Controls, closing: asyncio.Event) -> Iterable[Route]:
    gemini, deepseek = Exchange(Gemini(controls), controls), Exchange(DeepSeek(controls), controls)

    def endpoint(exchange: Exchange, api_version: str, key_of: Callable[[Request], str]) -> Callable[..., Response]:
        return lambda request: _Exchanged(exchange, request, api_version, key_of(request), closing)

    for version in _API_VERSIONS:
        path = f"/{version}/models/{{model}}:generateContent"
        yield _post(path, endpoint(gemini, version, _gemini_key))
    for version, path in _DEEPSEEK_PATHS.items():
        yield _post(path, endpoint(deepseek, version, _bearer_key))


def _post(path: str, respond: Callable[[Request], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        return respond(request)

    return Route(path, endpoint, methods=["POST"])


class _Exchanged(Response):
    """Not a response yet, but the exchange that leads to one: some providers begin to answer before they know what."""

    def __init__(
        self, exchange: Exchange, request: Request, api_version: str, api_key: str, closing: asyncio.Event
    ) -> None:
        super().__init__()
        self._exchange = exchange
        self._request = request
        self._api_version = api_version
        self._api_key = api_key
        self._closing = closing
        self._begin_time = datetime.datetime.now(datetime.UTC)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            fault = _fault(self._request, self._exchange.provider)
        except ValueError as error:
            await json_response({"error": f"{FAULT_HEADER}: {error}"}, status_code=400)(scope, receive, send)
            return
        line = Connection(scope, receive, send, closing=self._closing)
        model = self._request.path_params.get("model", "")
        try:
            body = await _body(self._request)
        except Refused as refusal:
            await self._exchange.refuse(refusal, begin_time=self._begin_time, model=model, line=line)
            return
        await self._exchange.run(self._call(model, fault, body), line)

    def _call(self, model: str, fault: Fault | None, body: bytes) -> Call:
        return Call(
            begin_time=self._begin_time,
            api_version=self._api_version,
            model=model,
            api_key=self._api_key,
            deadline_seconds=_deadline_seconds(self._request),
            fault=fault,
            body=body,
        )


def _gemini_key(request: Request) -> str:
    return request.headers.get("x-goog-api-key") or request.query_params.get("key", "")


def _bearer_key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _fault(request: Request, provider: str) -> Fault | None:
    """Return what the caller wants to be hit by: a kind, or a whole fault as JSON."""
    text = request.headers.get(FAULT_HEADER)
    if text is None:
        return None
    fault = read_fault(json.loads(text)) if text.startswith("{") else Fault(kind=read_kind(text))
    if provider not in providers_of(fault.kind):
        raise ValueError(f"{provider} does not fail with {fault.kind}")
    return fault


def _deadline_seconds(request: Request) -> float | None:
    try:
        return max(0.0, float(request.headers["x-server-timeout"]))
    except (KeyError, ValueError):
        return None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise errors.payload_too_large(MAX_BODY_BYTES)
    except ClientDisconnect:
        raise errors.cancelled() from None
    return bytes(body)
