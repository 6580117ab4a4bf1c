"""The command `visionjobs-gemini-emulator`."""

import asyncio
import signal
from typing import Annotated

import typer

from devkit.emulator.app import create_app
from devkit.emulator.faults import FaultKind, read_fault_option
from devkit.emulator.quotas import Limits
from devkit.emulator.serving import serving
from devkit.emulator.settings import DEFAULT_MODELS, EmulatorSettings

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
    seed: Annotated[int, typer.Option(help="Of the drawn latencies and faults.")] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it knows; may be repeated.", show_default=", ".join(DEFAULT_MODELS)),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=RATE", help=f"A part of the calls goes wrong; may be repeated: {_KINDS}."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Of each model, in any 60 s.")] = None,
    input_tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Of each model, in any 60 s.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(min=1, help="Of each model, until midnight Pacific.")] = None,
) -> None:
    """Answer in place of Gemini: what it says is made up from the pixels it is sent, and says so.

    Point a google-genai client to it with GOOGLE_GEMINI_BASE_URL. It takes any API key but an empty one or one that
    begins with "invalid". GET /emulator/ledger lists the calls it billed, GET /emulator/calls all that arrived; POST
    /emulator/faults and PUT /emulator/quotas change what it does with those to come.
    """
    try:
        settings = EmulatorSettings(
            models=tuple(model or DEFAULT_MODELS),
            latency_seconds=latency_ms / 1000,
            seed=seed,
            faults=tuple(read_fault_option(text) for text in fault or ()),
            limits=Limits(
                requests_per_minute=requests_per_minute,
                input_tokens_per_minute=input_tokens_per_minute,
                requests_per_day=requests_per_day,
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
