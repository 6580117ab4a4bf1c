"""The emulator's HTTP face: Gemini's path in both API versions, and control paths of its own."""

import asyncio
import functools
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from devkit.emulator import errors
from devkit.emulator.connections import ReplyResponse
from devkit.emulator.controls import Controls, routes
from devkit.emulator.faults import FaultScript
from devkit.emulator.generate import Call, Generator
from devkit.emulator.quotas import Quotas
from devkit.emulator.reply import Reply
from devkit.emulator.settings import EmulatorSettings

MAX_BODY_BYTES = 100 * 1024 * 1024

_API_VERSIONS = ("v1", "v1beta")


def create_app(settings: EmulatorSettings | None = None) -> Starlette:
    """Return an emulator with a ledger of its own; `serving.serving` serves it."""
    chosen = settings or EmulatorSettings()
    faults = FaultScript(seed=chosen.seed)
    for fault in chosen.faults:
        faults.add(fault)
    controls = Controls(faults=faults, quotas=Quotas(chosen.limits))
    generator = Generator(chosen, controls)
    closing = asyncio.Event()

    def close() -> None:
        closing.set()
        generator.close()
        controls.close()

    app = Starlette(routes=[*_gemini_routes(generator, closing), *routes(controls)])
    app.state.close = close
    return app


def _gemini_routes(generator: Generator, closing: asyncio.Event) -> Iterable[Route]:
    async def generate_content(request: Request, api_version: str) -> Response:
        try:
            call = await _call(request, api_version)
        except errors.ApiError as error:
            return ReplyResponse(Reply.of_error(error), closing=closing)
        return ReplyResponse(await generator.generate(call), closing=closing)

    for version in _API_VERSIONS:
        endpoint = functools.partial(generate_content, api_version=version)
        yield Route(f"/{version}/models/{{model}}:generateContent", endpoint, methods=["POST"], name=version)


async def _call(request: Request, api_version: str) -> Call:
    return Call(
        api_version=api_version,
        model=request.path_params["model"],
        api_key=request.headers.get("x-goog-api-key") or request.query_params.get("key", ""),
        deadline_seconds=_deadline_seconds(request),
        body=await _body(request),
    )


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
