"""The command `visionjobs-executor`."""

import asyncio
import sys
from typing import NoReturn

import typer

from executor.doors import DoorsOpen, health_tls
from executor.settings import ExecutorSettings
from runtime import logs, running, settings
from runtime.health_check import is_serving
from runtime.reloading import UnusableFile

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An executor of visionjobs: dials a scheduler, and calls Gemini for it.",
)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Work until SIGTERM. Settings come from EXECUTOR_ variables, and GEMINI_API_KEY."""
    if context.invoked_subcommand is not None:
        return
    loaded = settings.load_or_exit(ExecutorSettings)
    if loaded.gemini_api_key is None:
        _exit("Set GEMINI_API_KEY (or GOOGLE_API_KEY) to a key of the Gemini API.", status=2)
    # Imported here: the provider's SDK takes seconds to import, and the health check has none to spare.
    from executor import bootstrap  # noqa: PLC0415 - see above

    logs.configure(level=loaded.log_level)
    try:
        running.run(lambda stop: bootstrap.serve(loaded, stop))
    except (DoorsOpen, UnusableFile) as error:
        _exit(str(error), status=2)
    except OSError as error:
        _exit(str(error), status=1)


@app.command()
def healthcheck() -> None:
    """Exit with 0 if the executor on this machine is connected to a scheduler, else with 1."""
    loaded = settings.load_or_exit(ExecutorSettings, files=False)
    try:
        tls = health_tls(loaded)
    except UnusableFile as error:
        _exit(str(error), status=1)
    if not asyncio.run(is_serving(loaded.health_address, tls=tls)):
        _exit("not serving", status=1)


def _exit(message: str, *, status: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(status)


def main() -> None:
    """Run the command."""
    app()
