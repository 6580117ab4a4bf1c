"""What a test sees and sets of a running emulator, at paths that Gemini does not have."""

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devkit.emulator.call_log import CallFilter, CallLog
from devkit.emulator.distributions import read_latencies
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.fault_script import FaultScript
from devkit.emulator.faults import read_fault
from devkit.emulator.gate import Gate
from devkit.emulator.latency import Latency
from devkit.emulator.ledger import Ledger
from devkit.emulator.models import Models, read_changes
from devkit.emulator.quotas import Limits, Quotas
from devkit.emulator.reply import JSON

_LONGEST_POLL_SECONDS = 300.0
_POLL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The parts that calls and control paths share."""

    faults: FaultScript
    quotas: Quotas
    latency: Latency
    models: Models
    ledger: Ledger = field(default_factory=Ledger)
    calls: CallLog = field(default_factory=CallLog)
    gate: Gate = field(default_factory=Gate)

    def close(self) -> None:
        """End every wait, for good."""
        self.calls.close()
        self.latency.close()
        self.gate.remove()


def routes(controls: Controls) -> Iterable[Route]:
    """Return the control paths."""
    yield from _ledger_routes(controls.ledger)
    yield from _call_routes(controls.calls)
    yield from _fault_routes(controls.faults, controls.gate)
    yield from _quota_routes(controls.quotas)
    yield from _latency_routes(controls.latency)
    yield from _model_routes(controls.models)


def _ledger_routes(ledger: Ledger) -> Iterable[Route]:
    async def read(request: Request) -> Response:
        return json_response(ledger.summary() if request.query_params.get("summary") == "1" else ledger.as_json())

    async def count(_: Request) -> Response:
        return json_response({"count": ledger.count})

    async def clear(_: Request) -> Response:
        ledger.clear()
        return Response(status_code=204)

    yield Route("/emulator/ledger", read, methods=["GET"])
    yield Route("/emulator/ledger", clear, methods=["DELETE"])
    yield Route("/emulator/ledger/count", count, methods=["GET"])


def _call_routes(calls: CallLog) -> Iterable[Route]:
    async def read(request: Request) -> Response:
        """Answer when `count` calls of the model and prompt have arrived, or `seconds` have passed."""
        count = int(_number(request, "count", default=0, most=1_000_000))
        seconds = _number(request, "seconds", default=_POLL_SECONDS, most=_LONGEST_POLL_SECONDS)
        query = request.query_params
        meant = CallFilter(
            provider=query.get("provider", ""),
            model=query.get("model", ""),
            prompt_sha256=query.get("prompt_sha256", ""),
        )
        await calls.until(count, seconds=seconds, of=meant)
        return json_response(calls.as_json(meant))

    async def clear(_: Request) -> Response:
        calls.clear()
        return Response(status_code=204)

    yield Route("/emulator/calls", _told(read), methods=["GET"])
    yield Route("/emulator/calls", clear, methods=["DELETE"])


def _fault_routes(faults: FaultScript, gate: Gate) -> Iterable[Route]:
    async def read(_: Request) -> Response:
        return json_response(faults.as_json())

    async def add(request: Request) -> Response:
        faults.add(read_fault(await _document(request)))
        return json_response(faults.as_json(), status_code=201)

    async def clear(_: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def release(_: Request) -> Response:
        """Let the held calls go, and hold no more."""
        faults.end(FaultKind.HOLD)
        return json_response({"released": gate.open()})

    yield Route("/emulator/faults", read, methods=["GET"])
    yield Route("/emulator/faults", _told(add), methods=["POST"])
    yield Route("/emulator/faults", clear, methods=["DELETE"])
    yield Route("/emulator/release", release, methods=["POST"])


def _quota_routes(quotas: Quotas) -> Iterable[Route]:
    async def read(_: Request) -> Response:
        return json_response(asdict(quotas.limits))

    async def replace(request: Request) -> Response:
        """Set all limits; one that is not named is none."""
        document = await _document(request)
        if not isinstance(document, dict) or document.keys() - Limits.__slots__:
            raise ValueError(f"quotas are an object of {', '.join(Limits.__slots__)}")
        quotas.limits = Limits(**document)
        return json_response(asdict(quotas.limits))

    yield Route("/emulator/quotas", read, methods=["GET"])
    yield Route("/emulator/quotas", _told(replace), methods=["PUT"])


def _latency_routes(latency: Latency) -> Iterable[Route]:
    at_start = latency.latencies.default

    async def read(_: Request) -> Response:
        return json_response(latency.latencies.as_json())

    async def replace(request: Request) -> Response:
        """Set all latencies; without a default, the one from the start holds again."""
        latency.latencies = read_latencies(await _document(request), default=at_start)
        return json_response(latency.latencies.as_json())

    yield Route("/emulator/latency", read, methods=["GET"])
    yield Route("/emulator/latency", _told(replace), methods=["PUT"])


def _model_routes(models: Models) -> Iterable[Route]:
    async def read(_: Request) -> Response:
        return json_response(models.as_json())

    async def replace(request: Request) -> Response:
        """Set all changes; what is not named is as it was at the start."""
        models.changes = read_changes(await _document(request))
        return json_response(models.as_json())

    yield Route("/emulator/models", read, methods=["GET"])
    yield Route("/emulator/models", _told(replace), methods=["PUT"])


def _told(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Answer 400 with a sentence to a request that makes no sense."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValueError as error:
            return json_response({"error": str(error)}, status_code=400)

    return answer


async def _document(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None


def _number(request: Request, name: str, *, default: float, most: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        raise ValueError(f"{name} must be a number") from None
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be between 0 and {most:g}")
    return value


def json_response(content: object, *, status_code: int = 200) -> Response:
    return Response(json.dumps(content), status_code=status_code, media_type=JSON)
