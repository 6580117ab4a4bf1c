"""`make demo`."""

import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console

from devkit import stack
from devkit.demo import show
from devkit.demo.tasks import Task, all_tasks
from devkit.embedded_postgres import EmbeddedPostgresError
from devkit.programs import ProgramFailed
from visionjobs import AsyncClient, Job, JobView, VisionJobsError

_ROOT = Path.cwd()


def main() -> int:
    """Run the demo, and return its exit status."""
    console = Console()
    try:
        return asyncio.run(_until_interrupted(console))
    except (ProgramFailed, EmbeddedPostgresError, VisionJobsError) as error:
        console.print(f"[bold red]The demo failed:[/bold red] {error}", highlight=False)
        return 1


async def _until_interrupted(console: Console) -> int:
    demo = asyncio.current_task()
    assert demo is not None
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        demo.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        return await _demo(console)
    except asyncio.CancelledError:
        if not interrupted:
            raise
        console.print("\nInterrupted; everything that the demo started is stopped.")
        return 130


async def _demo(console: Console) -> int:
    console.print("Starting Postgres, a scheduler, two executors …", highlight=False)
    async with stack.running(stack.Options(folder=_ROOT / ".demo")) as system:
        for program in system.programs:
            console.print(
                f"  {program.name}: process {program.pid}, log {program.log.relative_to(_ROOT)}", soft_wrap=True
            )
        hint = " Set GEMINI_API_KEY to call the real Gemini." if system.emulator_url else ""
        console.print(f"Answers come from {system.provider}.{hint}\n", highlight=False, style="bold yellow")
        async with AsyncClient(system.address) as client:
            tasks = await _submit(client, all_tasks(_ROOT / "samples"))
            with show.Progress(console, tasks, system.provider) as progress:
                async for change in client.watch_many(tasks):
                    progress.update(change)
            jobs = await client.batch_get(tasks, view=JobView.BASIC)
        return _report(console, tasks, jobs, emulated=system.emulator_url is not None)


async def _submit(client: AsyncClient, tasks: list[Task]) -> dict[str, Task]:
    accepted = await client.submit_many([task.spec for task in tasks])
    return {job.job_id: task for job, task in zip(accepted, tasks, strict=True)}


def _report(console: Console, tasks: dict[str, Task], jobs: tuple[Job, ...], *, emulated: bool) -> int:
    show.show_results(console, tasks, jobs, emulated=emulated)
    show.show_times(console, jobs)
    show.show_next(console, jobs[0].job_id)
    show.show_summary(console, jobs)
    return 0 if all(job.result is not None for job in jobs) else 1


if __name__ == "__main__":
    sys.exit(main())
