"""`visionjobs audit`: what was changed, by whom and when."""

from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient
from visionjobs.keys import AuditEntry

PAGE_SIZE = 200


def audit(
    *,
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what was changed, by whom and when, newest first."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        entries: list[AuditEntry] = []
        changes = client.audit(page_size=min(limit, PAGE_SIZE))
        while len(entries) < limit and (entry := await anext(changes, None)) is not None:
            entries.append(entry)
        output.audit(entries)
        return ExitCode.DONE

    session.run(output, work)
