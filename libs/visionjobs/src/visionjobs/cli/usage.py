"""`visionjobs usage`: what your jobs used, and what it cost."""

from dataclasses import replace
from datetime import UTC, date, timedelta
from typing import Annotated

import typer

from visionjobs.cli import arguments
from visionjobs.cli.clock import now
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient
from visionjobs.usage import UsageRow

_DEFAULT_DAYS = 30


def usage(
    *,
    context: typer.Context,
    from_day: Annotated[
        date | None,
        typer.Option(
            "--from",
            parser=arguments.day,
            metavar="DAY",
            help="From this day (UTC) on: ISO 8601, or -7d for a week ago.",
            show_default=f"{_DEFAULT_DAYS} days before the end",
        ),
    ] = None,
    to_day: Annotated[
        date | None,
        typer.Option(
            "--to", parser=arguments.day, metavar="DAY", help="Before this day (UTC).", show_default="tomorrow"
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="GROUP",
            help="A row for each user, model, day or label:NAME; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what your jobs used and what it cost, wasted dollars apart."""
    session: Session = context.obj
    output = choose(as_json=as_json)
    end = to_day or now().astimezone(UTC).date() + timedelta(days=1)
    begin = from_day or date.fromordinal(max(1, end.toordinal() - _DEFAULT_DAYS))
    groups = by or []

    async def work(client: AsyncClient) -> ExitCode:
        rows = await client.get_usage(begin, end, group_by=groups)
        output.usage([_in_order(row, groups) for row in rows])
        return ExitCode.DONE

    session.run(output, work)


def _in_order(row: UsageRow, groups: list[str]) -> UsageRow:
    """Return the row with its groups in the order in which they were asked for: a map on the wire has none."""
    return replace(row, group={name: row.group.get(name, "") for name in groups})
