"""The command `visionjobs-scheduler`."""

import asyncio
import enum
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from runtime import logs, running, settings
from runtime.health_check import is_serving
from runtime.reloading import UnusableFile
from scheduler.doors import DoorsOpen, server_tls
from scheduler.errors import ImageStoreUnusable, InvalidRequest, StoreUnavailable, WrongRevision
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
    except (StoreUnavailable, WrongRevision, ImageStoreUnusable, DoorsOpen, UnusableFile, OSError) as error:
        _exit(str(error))


@app.command()
def migrate() -> None:
    """Bring the database to the revision that this version needs, and exit."""
    # Here, because its tools take longer to load than all that serving needs.
    from scheduler.postgres import migrate as migrations  # noqa: PLC0415 - see above

    loaded = settings.load_or_exit(SchedulerSettings)
    try:
        migrations.upgrade(loaded.database_url.get_secret_value(), password=loaded.database_password)
    except StoreUnavailable as error:
        _exit(str(error))


@app.command()
def healthcheck() -> None:
    """Exit with 0 if the scheduler on this machine is serving, else with 1."""
    loaded = settings.load_or_exit(SchedulerSettings, files=False)
    try:
        tls = server_tls(loaded)
    except UnusableFile as error:
        _exit(str(error))
    if not asyncio.run(is_serving(loaded.grpc_address, tls=tls)):
        _exit("not serving")


class FirstRole(enum.StrEnum):
    """Roles of keys that are needed before anybody can ask for one."""

    ADMIN = "admin"
    EXECUTOR = "executor"


@app.command(name="init-secrets")
def init_secrets(
    directory: Annotated[Path, typer.Argument(help="Where the programs' folders are, or will be.")],
    host: Annotated[
        list[str] | None, typer.Option(help="A further name or address of the scheduler; may be repeated.")
    ] = None,
    uid: Annotated[int | None, typer.Option(help="Whose files they become; takes root.")] = None,
    postgres_uid: Annotated[int | None, typer.Option(help="Whose files those of Postgres become.")] = None,
) -> None:
    """Make the secrets that are missing: the database's password, an authority, certificates. Keeps what is there."""
    from runtime.clock import SystemClock  # noqa: PLC0415 - as above
    from scheduler import first_start  # noqa: PLC0415 - as above

    owners = first_start.Owners(uid=uid, postgres_uid=postgres_uid)
    try:
        written = first_start.init_secrets(directory, hosts=host or (), owners=owners, now=SystemClock().now())
    except (first_start.HostUnusable, first_start.SecretUnusable, OSError) as error:
        _exit(str(error))
    for name in written:
        typer.echo(f"wrote {directory / name}")
    if not written:
        typer.echo("nothing was missing")


@app.command(name="bootstrap-key")
def bootstrap_key(
    role: Annotated[FirstRole, typer.Option(help="What it may do.")] = FirstRole.ADMIN,
    client: Annotated[str, typer.Option(help="Whose it is; by default the role's name.")] = "",
    write_to: Annotated[
        Path | None, typer.Option(help="Write it to this file; if the key that is there works, do nothing.")
    ] = None,
    *,
    again: Annotated[bool, typer.Option("--again", help="Make one even if another of the role works.")] = False,
    if_none: Annotated[bool, typer.Option("--if-none", help="If another of the role works, that is fine.")] = False,
) -> None:
    """Make the first key of a role in the database, and print it, this once."""
    from scheduler import first_key_wiring  # noqa: PLC0415 - as above
    from scheduler.callers import Role  # noqa: PLC0415 - as above
    from scheduler.first_key import KeyExists, Wanted  # noqa: PLC0415 - as above

    loaded = settings.load_or_exit(SchedulerSettings)
    logs.configure(level="WARNING")
    wanted = Wanted(role=Role[role.name], client_id=client or role.value, again=again)
    try:
        typer.echo(first_key_wiring.make(loaded, wanted, write_to))
    except KeyExists as error:
        if not if_none:
            _exit(str(error))
        typer.echo(f"a key with the role {role.value} works already")
    except (InvalidRequest, StoreUnavailable, WrongRevision, OSError) as error:
        _exit(str(error))


def _exit(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    app()
