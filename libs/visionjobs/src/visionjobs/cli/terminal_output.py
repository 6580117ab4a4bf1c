"""Output for a person at a terminal: colours, tables, and a live line for each job that is followed."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from visionjobs.alerts import Alert
from visionjobs.cli import tables, usage_tables, wording
from visionjobs.cli.clock import now
from visionjobs.cli.output import Tell
from visionjobs.jobs import Job, JobState
from visionjobs.keys import AuditEntry, Key, NewKey
from visionjobs.lanes import Lane
from visionjobs.usage import UsageRow


class TerminalOutput:
    """Results on stdout, the rest on stderr."""

    shows_everything: bool = False

    def __init__(self) -> None:
        # What may be copied, such as a command, is not cut into lines.
        self._console = Console(highlight=False, soft_wrap=True)
        self._errors = Console(highlight=False, soft_wrap=True, stderr=True)
        self._notices = self._errors

    def submitted(self, job: Job) -> None:
        self._console.print(_line(job, wording.acceptance(job)))
        if job.state.is_final:
            self._result(job)
        else:
            self._console.print(Text(f"  Follow it with: visionjobs watch {job.job_id}", style="dim"))

    def cancelled(self, job: Job) -> None:
        self._console.print(_line(job, wording.note(job)))

    def details(self, job: Job) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in wording.facts(job):
            table.add_row(name, Text(value, style=_style(job.state) if name == "State" else ""))
        for name, words in wording.attempts(job):
            table.add_row(name, Text(words))
        self._console.print(table, soft_wrap=False)
        self._result(job)

    @contextlib.contextmanager
    def listing(self) -> Iterator[Tell]:
        told = False

        def tell(job: Job) -> None:
            nonlocal told
            if not told:
                self._row(Text(f"{'Job':36}  {'State':9}  {'Created':14}  User", style="dim"))
                told = True
            self._listed(job)

        yield tell
        if not told:
            self._console.print(Text("No jobs.", style="dim"))

    def _listed(self, job: Job) -> None:
        """Print the job with its note, which stands below where it has no room beside the rest."""
        user = Text(wording.one_line(job.spec.user_id))
        user.truncate(12, overflow="ellipsis", pad=True)
        created = f"{job.create_time.astimezone():%m-%d %H:%M:%S}" if job.create_time else ""
        line = Text.assemble(f"{job.job_id:36}  ", (f"{job.state:9}", _style(job.state)), f"  {created:14}  ", user)
        note = Text(f"  {wording.note(job)}", style="dim")
        if self._console.width >= 130:
            self._row(line + note)
            return
        self._row(line)
        if note.plain.strip():
            self._row(note)

    def _row(self, text: Text) -> None:
        self._console.print(text, soft_wrap=False, no_wrap=True, overflow="ellipsis")

    @contextlib.contextmanager
    def following(self, *, alone: bool) -> Iterator[Tell]:
        lines: dict[str, TaskID] = {}
        # The live lines are of jobs under way; what has ended is printed above them and stays. A notice must go the same
        # way, or it would be written into the picture.
        self._notices = self._console
        with Progress(
            SpinnerColumn(), _JobColumn(), TimeElapsedColumn(), console=self._console, transient=True, expand=True
        ) as progress:

            def tell(job: Job) -> None:
                if job.job_id not in lines:
                    lines[job.job_id] = progress.add_task("", total=None, job=job)
                progress.update(lines[job.job_id], job=job, visible=not job.state.is_final)
                if job.state.is_final:
                    self._console.print(_line(job, wording.note(job)))
                    if alone:
                        self._result(job)

            try:
                yield tell
            finally:
                self._notices = self._errors

    def lanes(self, lanes: Sequence[Lane]) -> None:
        self._console.print(tables.of_lanes(lanes, now()), soft_wrap=False)

    def usage(self, rows: Sequence[UsageRow]) -> None:
        self._console.print(usage_tables.of_usage(rows), soft_wrap=False)

    def alerts(self, alerts: Sequence[Alert]) -> None:
        self._console.print(usage_tables.of_alerts(alerts), soft_wrap=False)

    def keys(self, keys: Sequence[Key]) -> None:
        self._console.print(tables.of_keys(keys, now()), soft_wrap=False)

    def new_key(self, new: NewKey) -> None:
        self._console.print(Text(new.secret))

    def audit(self, entries: Sequence[AuditEntry]) -> None:
        self._console.print(tables.of_changes(entries), soft_wrap=False)

    def fact(self, message: str, **values: Any) -> None:  # noqa: ARG002 - the values are for programs
        self._console.print(Text(message))

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

    def __init__(self) -> None:
        super().__init__(Column(overflow="ellipsis", no_wrap=True, ratio=1))

    def render(self, task: Task) -> Text:
        job: Job = task.fields["job"]
        return Text.assemble(job.job_id, "  ", (job.state, _style(job.state)), "  ", (wording.note(job), "dim"))


def _line(job: Job, note: str) -> Text:
    sign = {JobState.SUCCEEDED: "✓ "}.get(job.state, "✗ " if job.state.is_final else "→ ")
    style = _style(job.state)
    return Text.assemble((sign, style), job.job_id, "  ", (job.state, style), "  ", (note, "dim"))


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
