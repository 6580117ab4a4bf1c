"""`visionjobs alerts`: what wants a person."""

from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient


def alerts(
    *,
    context: typer.Context,
    include_ended: Annotated[bool, typer.Option("--all", metavar="", help="Also those that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what wants a person now, newest first."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        output.alerts(await client.list_alerts(include_ended=include_ended))
        return ExitCode.DONE

    session.run(output, work)
