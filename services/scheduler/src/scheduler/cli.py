"""The command `visionjobs-scheduler`."""

import asyncio
import sys

import typer

from runtime import logs, running, serving, settings
from scheduler.errors import StoreUnavailable, WrongRevision
from scheduler.settings import SchedulerSettings

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The scheduler of visionjobs: owns the queue, streams jobs to executors.",
)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve until SIGTERM. Settings come from SCHEDULER_ variables."""
    if context.invoked_subcommand is not None:
        return
    loaded = settings.load_or_exit(SchedulerSettings)
    # Imported here: the health check runs every few seconds, and needs none of it.
    from scheduler import bootstrap  # noqa: PLC0415 - see above

    logs.configure(level=loaded.log_level)
    try:
        running.run(lambda stop: bootstrap.serve(loaded, stop))
    except (StoreUnavailable, WrongRevision, OSError) as error:
        _exit(str(error))


@app.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs, and exit."""
    # Here, because its tools take longer to load than all that serving needs.
    from scheduler.postgres import migrate as migrations  # noqa: PLC0415 - see above

    loaded = settings.load_or_exit(SchedulerSettings)
    try:
        migrations.upgrade(loaded.database_url.get_secret_value())
    except StoreUnavailable as error:
        _exit(str(error))


@app.command()
def healthcheck() -> None:
    """Exit with 0 if the scheduler on this machine is serving, else with 1."""
    loaded = settings.load_or_exit(SchedulerSettings)
    port = loaded.grpc_address.rpartition(":")[2]
    if not asyncio.run(serving.is_serving(f"127.0.0.1:{port}")):
        _exit("not serving")


def _exit(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    app()
