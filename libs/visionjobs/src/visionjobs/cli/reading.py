"""`visionjobs get` and `visionjobs list`: look at jobs as they are."""

from typing import Annotated

import typer

from visionjobs.cli.arguments import Label
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import ExitCode, Session
from visionjobs.client import AsyncClient
from visionjobs.jobs import JobState

PAGE_SIZE = 200


def get(
    *,
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.")] = False,
) -> None:
    """Show one job with everything that is known about it.

    Exits with 0 whatever became of the job; `watch` tells that by its exit code.
    """
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        output.details(await client.get(job_id))
        return ExitCode.DONE

    session.run(output, work)


def list_jobs(
    *,
    context: typer.Context,
    user: Annotated[str, typer.Option(metavar="USER", help="Only jobs of this user.", show_default=False)] = "",
    states: Annotated[
        list[JobState] | None,
        typer.Option(
            "--state",
            case_sensitive=False,
            metavar="STATE",
            help="Only jobs in this state: " + ", ".join(JobState).lower() + "; may be repeated.",
        ),
    ] = None,
    labels: Annotated[
        list[Label] | None,
        typer.Option(
            "--label", parser=Label.parse, metavar="NAME=VALUE", help="Only jobs with this label; may be repeated."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """List your jobs, newest first."""
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        jobs = client.list(
            user_id=user,
            states=states or [],
            labels={label.name: label.value for label in labels or []},
            page_size=min(limit, PAGE_SIZE),
        )
        with output.listing() as tell:
            for _ in range(limit):
                job = await anext(jobs, None)
                if job is None:
                    break
                tell(job)
        return ExitCode.DONE

    session.run(output, work)
