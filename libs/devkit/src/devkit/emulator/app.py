"""The emulator's HTTP face: Gemini's path in both API versions, and the ledger at paths of its own."""

import functools
import json
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from devkit.emulator import errors
from devkit.emulator.generate import Call, Generator
from devkit.emulator.ledger import Ledger
from devkit.emulator.settings import EmulatorSettings

MAX_BODY_BYTES = 100 * 1024 * 1024

_API_VERSIONS = ("v1", "v1beta")


def create_app(settings: EmulatorSettings | None = None) -> Starlette:
    """Return an emulator with a ledger of its own; `serving.serving` serves it."""
    ledger = Ledger()
    generator = Generator(settings or EmulatorSettings(), ledger)
    app = Starlette(routes=[*_gemini_routes(generator), *_ledger_routes(ledger)])
    app.state.close = generator.close
    return app


def _gemini_routes(generator: Generator) -> Iterable[Route]:
    async def generate_content(request: Request, api_version: str) -> Response:
        try:
            return _json(await generator.generate(await _call(request, api_version)))
        except errors.ApiError as error:
            return _json(error.body(), status_code=error.code)

    for version in _API_VERSIONS:
        endpoint = functools.partial(generate_content, api_version=version)
        yield Route(f"/{version}/models/{{model}}:generateContent", endpoint, methods=["POST"], name=version)


def _ledger_routes(ledger: Ledger) -> Iterable[Route]:
    async def read(_: Request) -> Response:
        return _json(ledger.as_json())

    async def count(_: Request) -> Response:
        return _json({"count": ledger.count})

    async def clear(_: Request) -> Response:
        ledger.clear()
        return Response(status_code=204)

    yield Route("/emulator/ledger", read, methods=["GET"])
    yield Route("/emulator/ledger", clear, methods=["DELETE"])
    yield Route("/emulator/ledger/count", count, methods=["GET"])


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


def _json(content: object, *, status_code: int = 200) -> Response:
    return Response(json.dumps(content), status_code=status_code, media_type="application/json; charset=UTF-8")
