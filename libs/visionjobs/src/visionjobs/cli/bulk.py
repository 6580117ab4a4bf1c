"""`visionjobs cancel-jobs` and `visionjobs retry-jobs`: change all jobs that match, after a look at how many they are."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, NoReturn, Protocol

import typer

from visionjobs.cli.confirming import confirm, require_terminal
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.filter_options import FromTime, Labels, LaneName, States, ToTime, User
from visionjobs.cli.output import Output
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient
from visionjobs.errors import VisionJobsError
from visionjobs.job_filter import JobFilter

WITHOUT_TERMINAL = "--yes does it, --dry-run only counts"

Yes = Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only count the jobs.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print the counts as JSON objects, one a line.")]


def cancel_jobs(
    *,
    context: typer.Context,
    user: User = "",
    states: States = None,
    labels: Labels = None,
    lane: LaneName = "",
    from_time: FromTime = None,
    to_time: ToTime = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Stop all jobs that match, after counting them.

    visionjobs cancel-jobs --user u-17 --state queued
    """
    job_filter = _job_filter(user=user, states=states, labels=labels, lane=lane, from_time=from_time, to_time=to_time)
    change = _Change(
        call=lambda client, *, dry_run: client.cancel_jobs(job_filter, dry_run=dry_run),
        question="Cancel",
        done="cancelled",
    )
    _run(context.obj, choose(as_json=as_json), change, dry_run=dry_run, yes=yes)


def retry_jobs(
    *,
    context: typer.Context,
    user: User = "",
    states: States = None,
    labels: Labels = None,
    lane: LaneName = "",
    from_time: FromTime = None,
    to_time: ToTime = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do all jobs that match and have ended again, after counting them; without --state those that FAILED.

    visionjobs retry-jobs --lane gemini/gemini-3.8-flash --from -2h
    """
    job_filter = _job_filter(user=user, states=states, labels=labels, lane=lane, from_time=from_time, to_time=to_time)
    change = _Change(
        call=lambda client, *, dry_run: client.retry_jobs(job_filter, dry_run=dry_run),
        question="Retry",
        done="submitted again",
    )
    _run(context.obj, choose(as_json=as_json), change, dry_run=dry_run, yes=yes)


def _job_filter(
    *, user: User, states: States, labels: Labels, lane: LaneName, from_time: FromTime, to_time: ToTime
) -> JobFilter:
    try:
        return JobFilter(
            user_id=user,
            states=states or [],
            labels={label.name: label.value for label in labels or []},
            lane=lane,
            from_time=from_time,
            to_time=to_time,
        )
    except ValueError:
        options = ["--user", "--state", "--label", "--lane", "--from", "--to"]
        raise typer.BadParameter("Say with at least one of them which jobs.", param_hint=options) from None


class _Call(Protocol):
    def __call__(self, client: AsyncClient, *, dry_run: bool) -> Awaitable[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What is done to the jobs, and what it is called."""

    call: _Call
    question: str
    done: str


def _run(session: Session, output: Output, change: _Change, *, dry_run: bool, yes: bool) -> NoReturn:
    count = session.answer(output, lambda client: _count(client, output, change))
    if dry_run:
        raise typer.Exit(ExitCode.DONE)
    if not yes:
        _confirm(output, change, count)
    session.run(output, lambda client: _change(client, output, change))


async def _count(client: AsyncClient, output: Output, change: _Change) -> int:
    count = await change.call(client, dry_run=True)
    output.fact(f"{_jobs(count)} would be {change.done}.", count=count, dry_run=True)
    return count


def _confirm(output: Output, change: _Change, count: int) -> None:
    require_terminal(output, WITHOUT_TERMINAL)
    if not count:
        raise typer.Exit(ExitCode.DONE)
    confirm(output, f"{change.question} {'it' if count == 1 else 'them'}?", without_terminal=WITHOUT_TERMINAL)


async def _change(client: AsyncClient, output: Output, change: _Change) -> ExitCode:
    try:
        count = await change.call(client, dry_run=False)
    except VisionJobsError:
        output.notice(f"What was {change.done} before this stays so.")
        raise
    were = "was" if count == 1 else "were"
    output.fact(f"{_jobs(count)} {were} {change.done}.", count=count, dry_run=False)
    return ExitCode.DONE


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"
