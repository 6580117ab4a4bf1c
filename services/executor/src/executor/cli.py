"""The command `visionjobs-executor`."""

import asyncio
import sys
from typing import NoReturn

import typer

from executor.doors import DoorsOpen, health_tls
from executor.seclusion import seclude
from executor.settings import ExecutorSettings
from runtime import logs, running, settings
from runtime.health_check import is_serving
from runtime.reloading import UnusableFile

_KEYS = {
    "gemini": "GEMINI_API_KEY (or GOOGLE_API_KEY) to a key of the Gemini API",
    "deepseek": "DEEPSEEK_API_KEY to a key of the DeepSeek API",
}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An executor of visionjobs: dials a scheduler, and calls Gemini and DeepSeek for it.",
)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Work until SIGTERM. Settings come from EXECUTOR_ variables, and the keys from GEMINI_API_KEY and DEEPSEEK_API_KEY."""
    if context.invoked_subcommand is not None:
        return
    loaded = settings.load_or_exit(ExecutorSettings)
    _check_keys(loaded)
    seclude()
    # Imported here: a provider's SDK takes seconds to import, and the health check has none to spare.
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


def _check_keys(loaded: ExecutorSettings) -> None:
    keys = loaded.provider_keys
    if not keys:
        _exit(f"Set {_KEYS['gemini']}, or {_KEYS['deepseek']}.", status=2)
    for lane in loaded.lanes:
        provider = lane.partition("/")[0]
        if provider not in _KEYS:
            _exit(f"The setting EXECUTOR_LANES is wrong: nobody knows the provider of {lane}.", status=2)
        if provider not in keys:
            _exit(f"EXECUTOR_LANES names {lane}: set {_KEYS[provider]} for it.", status=2)


def _exit(message: str, *, status: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(status)


def main() -> None:
    """Run the command."""
    app()
