"""`visionjobs retry`: do finished jobs again."""

from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.one_by_one import change_each
from visionjobs.cli.output import Output
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.cli.watch import follow
from visionjobs.client import AsyncClient
from visionjobs.errors import VisionJobsError
from visionjobs.jobs import Job


def retry(
    *,
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="ID", help="Jobs that have ended.", show_default=False)],
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Follow the new jobs until they end; of one, print the result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line.")] = False,
) -> None:
    """Do jobs that have ended again: each becomes a new job.

    Exits with 3 if one is missing and with 5 if one cannot be done again; the others are done all the same.
    """
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        if watch:
            return await _retry_and_follow(client, output, job_ids)
        return await change_each(job_ids, client.retry, output, output.submitted)

    session.run(output, work)


async def _retry_and_follow(client: AsyncClient, output: Output, job_ids: list[str]) -> ExitCode:
    accepted: list[Job] = []
    try:
        code = await change_each(job_ids, client.retry, output, accepted.append)
    except VisionJobsError:
        # These are under way, and nobody follows them now.
        for job in accepted:
            output.submitted(job)
        raise
    if not accepted:
        return code
    followed = await follow(client, output, [job.job_id for job in accepted])
    return code or followed
