"""Output for a person at a terminal: colours, tables, and a live line for each job that is followed."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.json import JSON
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from visionjobs.cli import wording
from visionjobs.cli.output import Tell
from visionjobs.jobs import Job, JobState


class TerminalOutput:
    """Results on stdout, the rest on stderr."""

    def __init__(self) -> None:
        # What may be copied, such as a command, is not cut into lines.
        self._console = Console(highlight=False, soft_wrap=True)
        self._errors = Console(highlight=False, soft_wrap=True, stderr=True)
        self._notices = self._errors

    def submitted(self, job: Job) -> None:
        self._console.print(_line(job))
        if job.state.is_final:
            self._result(job)
        else:
            self._console.print(Text(f"  Follow it with: visionjobs watch {job.job_id}", style="dim"))

    def details(self, job: Job) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in wording.facts(job):
            table.add_row(name, Text(value, style=_style(job.state) if name == "State" else ""))
        for attempt in job.attempts:
            table.add_row(f"Attempt {attempt.attempt}", Text(wording.attempt_line(attempt)))
        self._console.print(table, soft_wrap=False)
        self._result(job)

    @contextlib.contextmanager
    def listing(self) -> Iterator[Tell]:
        # An id that is cut off is of no use; in a narrow terminal the note gives way.
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("Job", no_wrap=True, min_width=36)
        table.add_column("State", no_wrap=True, min_width=9)
        table.add_column("Created", no_wrap=True, min_width=14)
        table.add_column("User", overflow="ellipsis", no_wrap=True, min_width=6, max_width=12)
        table.add_column("", overflow="ellipsis", no_wrap=True)

        def tell(job: Job) -> None:
            table.add_row(
                job.job_id,
                Text(job.state, style=_style(job.state)),
                f"{job.create_time.astimezone():%m-%d %H:%M:%S}" if job.create_time else "",
                Text(wording.one_line(job.spec.user_id)),
                Text(wording.note(job), style="dim"),
            )

        yield tell
        self._console.print(table if table.rows else Text("No jobs.", style="dim"), soft_wrap=False)

    @contextlib.contextmanager
    def following(self, *, alone: bool) -> Iterator[Tell]:
        lines: dict[str, TaskID] = {}
        # The live lines are of jobs under way; what has ended is printed above them and stays. A notice must go the same
        # way, or it would be written into the picture.
        self._notices = self._console
        with Progress(
            SpinnerColumn(), _JobColumn(), TimeElapsedColumn(), console=self._console, transient=True
        ) as progress:

            def tell(job: Job) -> None:
                if job.job_id not in lines:
                    lines[job.job_id] = progress.add_task("", total=None, job=job)
                progress.update(lines[job.job_id], job=job, visible=not job.state.is_final)
                if job.state.is_final:
                    self._console.print(_line(job))
                    if alone:
                        self._result(job)

            try:
                yield tell
            finally:
                self._notices = self._errors

    def notice(self, message: str) -> None:
        self._notices.print(Text(wording.printable(message), style="yellow"))

    def error(self, message: str) -> None:
        self._errors.print(Text(wording.printable(message), style="red"))

    def _result(self, job: Job) -> None:
        if job.result is None:
            return
        self._console.print(JSON(wording.output_text(job.result)))
        if job.result.emulated:
            self._console.print(Text(wording.emulation(job.result), style="bold yellow"))


class _JobColumn(ProgressColumn):
    """The line of the job that a task stands for."""

    def render(self, task: Task) -> Text:
        job: Job = task.fields["job"]
        return Text.assemble(job.job_id, "  ", (job.state, _style(job.state)), "  ", (wording.note(job), "dim"))


def _line(job: Job) -> Text:
    sign = {JobState.SUCCEEDED: "✓ "}.get(job.state, "✗ " if job.state.is_final else "→ ")
    style = _style(job.state)
    return Text.assemble((sign, style), job.job_id, "  ", (job.state, style), "  ", (wording.note(job), "dim"))


def _style(state: JobState) -> str:
    match state:
        case JobState.SUCCEEDED:
            return "green"
        case JobState.FAILED:
            return "red"
        case JobState.CANCELLED | JobState.EXPIRED:
            return "magenta"
        case JobState.RUNNING:
            return "cyan"
        case JobState.QUEUED | JobState.SCHEDULED:
            return "yellow"
