"""`visionjobs keys`: make, list, rotate and revoke keys."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from visionjobs.cli import key_wording
from visionjobs.cli.arguments import duration
from visionjobs.cli.clock import now
from visionjobs.cli.confirming import confirm, require_terminal
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output import Output
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.cli.wording import clock_time
from visionjobs.client import AsyncClient
from visionjobs.errors import DeadlineExceeded, NotFound, Unavailable
from visionjobs.keys import Key, Role

keys = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Make, list, rotate and revoke API keys.")

WITHOUT_TERMINAL = "--yes does it"

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key, as `keys list` names it.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")]


class RoleName(StrEnum):
    """What a key may do, as it is typed."""

    CLIENT = "client"
    EXECUTOR = "executor"
    ADMIN = "admin"


@keys.command()
def create(
    *,
    context: typer.Context,
    client: Annotated[str, typer.Option(metavar="NAME", help="Whose jobs it submits.", show_default=False)],
    role: Annotated[
        RoleName,
        typer.Option(
            case_sensitive=False,
            metavar="ROLE",
            help="What it may do: client, hand over jobs and see its own; executor, work on jobs; admin, all but that.",
            show_default=False,
        ),
    ],
    max_priority: Annotated[
        int | None,
        typer.Option(min=1, max=3, metavar="N", help="The most urgent priority of its jobs.", show_default="1"),
    ] = None,
    submissions_per_second: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="X", help="Jobs that the client may submit, on average.", show_default="the scheduler's"
        ),
    ] = None,
    max_queued_jobs: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Jobs of the client that may wait or run.", show_default="the scheduler's"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once, as the last line of stdout. With the first one every call needs a key.

    visionjobs keys create --client billing --role client > billing.key
    """
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(connected: AsyncClient) -> ExitCode:
        is_first = not await connected.list_keys()
        try:
            new = await connected.create_key(
                client,
                Role[role.name],
                max_priority=max_priority,
                submissions_per_second=submissions_per_second,
                max_queued_jobs=max_queued_jobs,
            )
        except (Unavailable, DeadlineExceeded):
            output.notice("Whether a key was made is not known: `visionjobs keys list` shows it; revoke it then.")
            raise
        if is_first:
            _warn_of_first(output, new.key)
        output.notice(f"This is the {key_wording.whose(new.key)}. {key_wording.keeping(new.key)}")
        output.new_key(new)
        return ExitCode.DONE

    session.run(output, work)


def _warn_of_first(output: Output, key: Key) -> None:
    output.notice("This is the first key: from now on every call needs one, those of executors too.")
    if key.role is not Role.ADMIN:
        output.notice("None may make another one yet: `visionjobs-scheduler bootstrap-key` makes an admin key.")


@keys.command("list")
def list_keys(*, context: typer.Context, as_json: AsJson = False) -> None:
    """Show all keys, also revoked ones, newest first."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        output.keys(await client.list_keys())
        return ExitCode.DONE

    session.run(output, work)


@keys.command()
def rotate(
    *,
    context: typer.Context,
    key_id: KeyId,
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long the old secret works, such as 30m or 2d; at most 7d.",
            show_default="1h",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret and print it, this once, as the last line of stdout."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        try:
            new = await client.rotate_key(key_id, overlap=overlap)
        except (Unavailable, DeadlineExceeded):
            output.notice(
                "Whether the key was rotated is not known: `visionjobs keys list` shows it. If it was, the new secret "
                "is lost: hand out another key while the old secret works. To rotate again would end it at once."
            )
            raise
        until = new.key.old_secret_expire_time
        ends = f"works until {clock_time(until, now())}" if until and until > now() else "has ended"
        output.notice(
            f"This is the {key_wording.whose(new.key)}; the old secret {ends}. {key_wording.keeping(new.key)}"
        )
        output.new_key(new)
        return ExitCode.DONE

    session.run(output, work)


@keys.command()
def revoke(
    *,
    context: typer.Context,
    key_id: KeyId,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End a key for good; its running calls end within five seconds."""
    session: Session = context.obj
    output = choose(as_json=as_json)
    if not yes:
        require_terminal(output, WITHOUT_TERMINAL)
        key = session.answer(output, lambda client: _key(client, key_id))
        used = key_wording.last_used(key, now())
        confirm(
            output,
            f"Revoke the {key_wording.whose(key)}, last used: {used}?",
            without_terminal=WITHOUT_TERMINAL,
        )

    async def work(client: AsyncClient) -> ExitCode:
        output.keys([await client.revoke_key(key_id)])
        return ExitCode.DONE

    session.run(output, work)


async def _key(client: AsyncClient, key_id: str) -> Key:
    for key in await client.list_keys():
        if key.key_id == key_id:
            return key
    raise NotFound(f"There is no key {key_id}.", code="NOT_FOUND")
