"""`visionjobs link`: let somebody without a key look at a job."""

from datetime import timedelta
from typing import Annotated

import typer

from visionjobs.cli.arguments import duration
from visionjobs.cli.clock import now
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.cli.wording import clock_time, one_line
from visionjobs.client import AsyncClient


def link(
    *,
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.", show_default=False)],
    lifetime: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long it works, such as 30m or 7d; at most 30d.",
            show_default="1h",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")] = False,
) -> None:
    """Print a link under which anybody who has it can read the job until it expires."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        made = await client.job_link(job_id, lifetime=lifetime)
        until = f" until {clock_time(made.expire_time, now())}" if made.expire_time else ""
        output.notice(f"Anybody who has this link can read the job{until}.")
        if made.url.startswith("/"):
            output.notice("Put the address of the scheduler's HTTP port before it: no public URL is configured.")
        output.fact(one_line(made.url), url=made.url, expire_time=made.expire_time)
        return ExitCode.DONE

    session.run(output, work)
