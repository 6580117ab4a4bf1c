"""An answer that was paid for is delivered, whatever dies between the provider and the database."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from fleet_calls import finished, fleet_of
from system_calls import StartStack

from visionjobs import JobSpec, JobState

RequestFor = Callable[..., JobSpec]


async def until_spooled(folder: Path, job_id: str) -> None:
    """Wait until an outcome of the job is on the disk."""
    async with asyncio.timeout(30):
        while not any(job_id.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file()):
            await asyncio.sleep(0.02)


async def test_an_answer_outlives_the_scheduler_and_the_executor_that_got_it(
    start_stack: StartStack, request_for: RequestFor, tmp_path: Path
) -> None:
    spool = {"EXECUTOR_SPOOL_DIR": str(tmp_path / "spool")}
    async with contextlib.AsyncExitStack() as exits:
        system = await exits.enter_async_context(start_stack(executors=0))
        await system.choose_provider()
        await system.start_executor(environment=spool)
        fleet = await exits.enter_async_context(fleet_of(system))
        await fleet.emulator.script("hold", count=1)
        job = await fleet.clients[0].submit(request_for("Is it paid once?"))
        await fleet.emulator.calls(prompt=job.spec.prompt, count=1)
        address = system.address
        assert system.scheduler is not None
        system.scheduler.kill()
        await system.scheduler.wait()
        await fleet.emulator.release()
        await until_spooled(tmp_path / "spool", job.job_id)
        system.executors[0].kill()
        await system.executors[0].wait()

        await system.start_scheduler(grpc_address=address)
        await system.start_executor(environment=spool)
        [done] = await finished(fleet.clients[0], [job.job_id])

        assert done.state is JobState.SUCCEEDED
        assert [attempt.outcome for attempt in done.attempts] == ["SUCCEEDED"]
        assert len(await fleet.emulator.bills()) == 1


async def test_calls_that_are_never_answered_end_the_job_when_as_many_as_allowed_may_have_been_billed(
    start_stack: StartStack, request_for: RequestFor
) -> None:
    environment = {"SCHEDULER_BREAKER_FAILURES": "100", "SCHEDULER_MAX_PAID_CALLS": "2"}
    async with start_stack(executors=1, environment=environment) as system, fleet_of(system) as fleet:
        await fleet.emulator.script("reset-after", count=5)
        job = await fleet.clients[0].submit(request_for("How often?"))

        [done] = await finished(fleet.clients[0], [job.job_id])

        assert done.state is JobState.FAILED
        assert done.error is not None
        assert done.error.kind == "PAID_CALLS_EXHAUSTED"
        assert [attempt.unanswered for attempt in done.attempts] == [True, True]
        assert len(await fleet.emulator.bills()) == 2
