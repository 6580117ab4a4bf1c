"""`visionjobs watch`: follow jobs until they end."""

import asyncio
import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output import Output
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient
from visionjobs.jobs import JobState


def watch(
    *,
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs, at most 1,000.", show_default=False)],
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Print one JSON object a line, for each change; the last of a job is complete."
        ),
    ] = False,
) -> None:
    """Follow jobs until all have ended.

    Exits with 1 if one of them ended FAILED, CANCELLED or EXPIRED. Ctrl-C ends the watch, not the jobs.
    """
    session: Session = context.obj
    output = choose(as_json=as_json)
    session.run(output, lambda client: follow(client, output, list(dict.fromkeys(job_ids))))


async def follow(client: AsyncClient, output: Output, job_ids: Sequence[str]) -> ExitCode:
    """Tell every change of the jobs and return what became of them."""
    alone = len(job_ids) == 1
    changes = client.watch(job_ids[0]) if alone else client.watch_many(job_ids)
    states: dict[str, JobState] = {}
    try:
        with output.following(alone=alone) as tell:
            async for job in changes:
                states[job.job_id] = job.state
                tell(await client.get(job.job_id) if job.state.is_final and output.shows_everything else job)
    except asyncio.CancelledError:
        output.notice(f"What is submitted goes on. Follow it again with: visionjobs watch {shlex.join(job_ids)}")
        raise
    succeeded = all(state is JobState.SUCCEEDED for state in states.values())
    return ExitCode.DONE if succeeded else ExitCode.NO_RESULT
