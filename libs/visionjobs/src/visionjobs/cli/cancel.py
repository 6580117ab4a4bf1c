"""`visionjobs cancel`: stop jobs."""

from typing import Annotated

import typer

from visionjobs.cli.one_by_one import change_each
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session


def cancel(
    *,
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """Stop jobs, also in the middle of their call.

    Exits with 3 if one is missing and with 5 if one has ended otherwise; the others are stopped all the same.
    """
    session: Session = context.obj
    output = choose(as_json=as_json)
    session.run(output, lambda client: change_each(job_ids, client.cancel, output, output.cancelled))
