"""The command `visionjobs-gemini-emulator`."""

import asyncio
import signal
from typing import Annotated

import typer

from devkit.emulator.app import create_app
from devkit.emulator.distributions import read_latency_option
from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.faults import read_fault_option
from devkit.emulator.quotas import Limits
from devkit.emulator.serving import serving
from devkit.emulator.settings import DEFAULT_DEEPSEEK_MODELS, DEFAULT_MODELS, EmulatorSettings

_KINDS = ", ".join(FaultKind)

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Run the emulator until SIGTERM or SIGINT."""
    _app(prog_name="visionjobs-gemini-emulator")


@_app.command()
def emulate(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    latency_ms: Annotated[
        float, typer.Option(min=0, help="The median of what a call takes; 0 answers at once.")
    ] = 1200,
    latency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[MODEL=]KIND:SECONDS",
            help="A distribution, of all models or of one; may be repeated: fixed:S, uniform:S,S, lognormal:MEDIAN[,P99].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn latencies and faults.")] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model of Gemini's it knows; may be repeated.", show_default=", ".join(DEFAULT_MODELS)),
    ] = None,
    deepseek_model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model of DeepSeek's it knows; may be repeated.", show_default=", ".join(DEFAULT_DEEPSEEK_MODELS)
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=RATE", help=f"A part of the calls goes wrong; may be repeated: {_KINDS}."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Of each model, in any 60 s.")] = None,
    input_tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Of each model, in any 60 s.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(min=1, help="Of each model, until midnight Pacific.")] = None,
    spend_usd_per_10_minutes: Annotated[
        float | None, typer.Option(help="Of all models of Gemini's together, in any 10 minutes.")
    ] = None,
    deepseek_concurrent_requests: Annotated[
        int | None, typer.Option(min=1, help="Of each model of DeepSeek's, in flight.")
    ] = None,
) -> None:
    """Answer in place of Gemini and DeepSeek: what it says is made up from what it is sent, and says so.

    It is an emulator: no model sees anything. Point a google-genai client to it with GOOGLE_GEMINI_BASE_URL, and a client
    of DeepSeek's with its base URL. It takes any API key but an empty one or one that begins with "invalid".

    GET /emulator/ledger lists the calls it billed (?summary=1 adds them up), GET /emulator/calls all that arrived. POST
    and DELETE /emulator/faults, PUT /emulator/quotas, /emulator/latency and /emulator/models change what it does with
    those to come. A call with the header x-emulator-fault: KIND asks for a fault of its own.
    """
    try:
        settings = EmulatorSettings(
            models=tuple(model or DEFAULT_MODELS),
            deepseek_models=tuple(deepseek_model or DEFAULT_DEEPSEEK_MODELS),
            latency_seconds=latency_ms / 1000,
            latencies=dict(read_latency_option(text) for text in latency or ()),
            seed=seed,
            faults=tuple(read_fault_option(text) for text in fault or ()),
            limits=Limits(
                requests_per_minute=requests_per_minute,
                input_tokens_per_minute=input_tokens_per_minute,
                requests_per_day=requests_per_day,
                spend_usd_per_10_minutes=spend_usd_per_10_minutes,
                deepseek_concurrent_requests=deepseek_concurrent_requests,
            ),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        asyncio.run(_serve(settings, host, port))
    except OSError as error:
        typer.echo(f"The emulator cannot listen on {host}:{port}: {error.strerror or error}.", err=True)
        raise typer.Exit(1) from None


async def _serve(settings: EmulatorSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(create_app(settings), host=host, port=port) as base_url:
        print(f"gemini emulator listening on {base_url}", flush=True)
        await stop.wait()
