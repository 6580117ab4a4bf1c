"""What the demo shows: live progress, results, where the time went, and what to type next."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from devkit.demo.tasks import Task
from visionjobs import Job, JobState

_STYLES = {
    JobState.QUEUED: "dim",
    JobState.SCHEDULED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
}
_PRIORITIES = {1: "high", 2: "normal", 3: "low"}


class Progress:
    """The live table on a terminal; a line per change elsewhere."""

    def __init__(self, console: Console, tasks: Mapping[str, Task], provider: str) -> None:
        self._console = console
        self._tasks = tasks
        self._provider = provider
        self._jobs: dict[str, Job] = {}
        self._live = Live(console=console, refresh_per_second=10) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.__exit__(None, None, None)

    def update(self, job: Job) -> None:
        self._jobs[job.job_id] = job
        if self._live:
            self._live.update(self._table())
        else:
            where = f" on {job.executor_id}" if job.executor_id else ""
            self._console.print(f"  {self._tasks[job.job_id].name}: {_doing(job)}{where}", highlight=False)

    def _table(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("job", "priority", "state", "executor", "seconds"):
            table.add_column(heading, no_wrap=True, justify="right" if heading == "seconds" else "left")
        for job_id, task in self._tasks.items():
            job = self._jobs.get(job_id)
            if job is not None:
                table.add_row(
                    task.name,
                    _PRIORITIES[task.spec.priority],
                    Text(_doing(job), style=_STYLES.get(job.state, "")),
                    job.executor_id,
                    _seconds(job),
                )
        done = sum(job.state.is_final for job in self._jobs.values())
        return Group(table, Text(f"\n{done} of {len(self._tasks)} done, answered by {self._provider}", style="bold"))


def show_results(console: Console, tasks: Mapping[str, Task], jobs: Sequence[Job], *, emulated: bool) -> None:
    """Print every answer."""
    console.rule("results" + (" (EMULATED: no model saw the images)" if emulated else ""))
    for job in jobs:
        name = tasks[job.job_id].name
        if job.result is not None:
            console.print(f"[bold]{name}[/bold]  [dim]{job.result.model_version}, ${job.result.cost_usd:.5f}[/dim]")
            console.print_json(json.dumps(job.result.output))
        elif job.error is not None:
            console.print(f"[bold]{name}[/bold]  [red]{job.error.kind}: {job.error.message}[/red]")


def show_times(console: Console, jobs: Sequence[Job]) -> None:
    """Print where the time went: the wait in the queue, and each stage of the attempts that succeeded."""
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if job.create_time and job.start_time:
            spent["waiting in the queue"].append((job.start_time - job.create_time).total_seconds())
        if job.result is not None:
            for stage in job.result.stage_durations:
                spent[stage.stage.replace("_", " ").lower()].append(stage.duration.total_seconds())
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("where the time went")
    for heading in ("median s", "longest s", "all s"):
        table.add_column(heading, justify="right")
    for name, seconds in spent.items():
        table.add_row(name, f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}", f"{sum(seconds):.3f}")
    console.rule("time")
    console.print(table)


def show_next(console: Console, job_id: str) -> None:
    """Print what to type against a scheduler that stays."""
    lines = (
        "# list and describe everything by reflection",
        "grpcurl -plaintext 127.0.0.1:50051 list",
        "grpcurl -plaintext 127.0.0.1:50051 describe visionjobs.v1.JobSpec",
        "# look at one job, and list the jobs of a user",
        f'grpcurl -plaintext -d \'{{"job_id": "{job_id}"}}\' 127.0.0.1:50051 visionjobs.v1.VisionJobService/GetJob',
        'grpcurl -plaintext -d \'{"user_id": "demo"}\' 127.0.0.1:50051 visionjobs.v1.VisionJobService/ListJobs',
        "# the same without grpcurl",
        ".venv/bin/visionjobs list --user demo",
    )
    console.rule("next, against a scheduler that stays (see README: docker compose up)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True, style="dim" if line.startswith("#") else "")


def show_summary(console: Console, jobs: Iterable[Job]) -> None:
    """Print one line a job, and the count as the last line."""
    console.rule("jobs")
    counts: defaultdict[JobState, int] = defaultdict(int)
    for job in jobs:
        counts[job.state] += 1
        console.print(f"{job.job_id} {job.state}", highlight=False, style=_STYLES.get(job.state, ""))
    failed = sum(count for state, count in counts.items() if state is not JobState.SUCCEEDED)
    console.print(f"{counts[JobState.SUCCEEDED]} succeeded, {failed} failed", highlight=False)


def _doing(job: Job) -> str:
    if job.state is JobState.RUNNING and job.stage is not None:
        return job.stage.replace("_", " ").lower()
    attempt = f" (attempt {job.attempt})" if job.attempt > 1 else ""
    return f"{job.state.lower()}{attempt}"


def _seconds(job: Job) -> str:
    if job.finish_time and job.create_time:
        return f"{(job.finish_time - job.create_time).total_seconds():.1f}"
    return ""
