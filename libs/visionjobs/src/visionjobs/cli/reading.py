"""`visionjobs get` and `visionjobs list`: look at jobs as they are."""

from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.filter_options import Labels, States, User
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient

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
    user: User = "",
    states: States = None,
    labels: Labels = None,
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
