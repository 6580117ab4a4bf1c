"""`visionjobs purge-user`: remove what there is of a user."""

from dataclasses import asdict
from typing import Annotated

import typer

from visionjobs.cli import key_wording
from visionjobs.cli.confirming import confirm
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.cli.wording import one_line
from visionjobs.client import AsyncClient
from visionjobs.errors import DeadlineExceeded, Unavailable


def purge_user(
    *,
    context: typer.Context,
    client: Annotated[str, typer.Option(metavar="NAME", help="The client of the user's jobs.", show_default=False)],
    user: Annotated[str, typer.Option(metavar="USER", help="The user of the jobs.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")] = False,
) -> None:
    """Remove the prompts, images and results of a user for good; unfinished jobs are cancelled first.

    The jobs stay with their states, times and costs.
    """
    session: Session = context.obj
    output = choose(as_json=as_json)
    if not yes:
        whose = one_line(f"{user} of {client}")
        confirm(
            output,
            f"Cancel all unfinished jobs of {whose}, and remove all prompts, images and results for good?",
            without_terminal="--yes does it",
        )

    async def work(connected: AsyncClient) -> ExitCode:
        try:
            purged = await connected.purge_user(client, user)
        except (Unavailable, DeadlineExceeded):
            output.notice("What was removed before this is gone; do it again until it ends well.")
            raise
        output.fact(key_wording.purge(purged, user), **asdict(purged))
        return ExitCode.DONE

    session.run(output, work)
