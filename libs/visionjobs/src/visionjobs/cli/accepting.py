"""`visionjobs accepting`: say whether submissions are taken."""

from enum import StrEnum
from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def accepting(
    *,
    context: typer.Context,
    switch: Annotated[Switch, typer.Argument(metavar="on|off", help="Whether they are taken.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")] = False,
) -> None:
    """Say whether submissions are taken; jobs that were accepted go on in any case."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        accepts = await client.set_accepting(switch is Switch.ON)
        output.fact("Submissions are taken." if accepts else "Submissions are refused.", accepting=accepts)
        return ExitCode.DONE

    session.run(output, work)
