"""Every program can be restarted under load: nothing is lost, charged or paid twice."""

import asyncio
import collections
import itertools
from collections.abc import Callable, Iterable, Sequence

from fleet_calls import Fleet, connected_to, finished, fleet_of, succeeded
from system_calls import StartStack

from devkit.programs import Program
from visionjobs import AsyncClient, JobSpec

EXECUTORS, CAPACITY = 2, 3


async def test_a_rolling_restart_of_everything_under_load_loses_charges_and_pays_nothing_twice(
    start_stack: StartStack, request_for: Callable[..., JobSpec]
) -> None:
    async with (
        start_stack(
            schedulers=2, executors=EXECUTORS, capacity=CAPACITY, emulator_arguments=("--latency-ms", "400")
        ) as system,
        fleet_of(system) as fleet,
    ):
        await all_connected(system.executors)
        load = Load(fleet, request_for)
        for scheduler in system.schedulers:
            await load.under_way()
            async with asyncio.TaskGroup() as tasks:
                # Also through the scheduler that is away.
                tasks.create_task(load.submit(1))
                scheduler.interrupt()
                assert await scheduler.wait() == 0
                await system.start_scheduler(grpc_address=scheduler.address)
        for executor in await replaced(fleet):
            await load.under_way()
            executor.interrupt()
            assert await executor.wait() == 0
        done = await finished(fleet.clients[0], load.job_ids)
        bills = await fleet.emulator.bills()

    assert succeeded(done)
    assert {job.retry_count for job in done} == {0}
    assert len(done) == 4 * 2 * EXECUTORS * CAPACITY + 2 * 2
    paid = collections.Counter(bill["prompt_sha256"] for bill in bills)
    assert set(paid.values()) == {1}
    assert len(paid) == len(done)


class Load:
    """Jobs for the whole fleet, submitted through every scheduler."""

    def __init__(self, fleet: Fleet, request_for: Callable[..., JobSpec]) -> None:
        self._fleet = fleet
        self._request_for = request_for
        self._numbers = itertools.count()
        self.job_ids: list[str] = []

    async def under_way(self) -> None:
        """Submit twice as many jobs as there are slots, and wait until every slot works."""
        before = len(await self._fleet.emulator.calls())
        await self.submit(EXECUTORS * CAPACITY)
        await self._fleet.emulator.calls(count=before + EXECUTORS * CAPACITY)

    async def submit(self, count: int) -> None:
        """Submit so many jobs through each scheduler at once."""
        async with asyncio.TaskGroup() as tasks:
            for client in self._fleet.clients:
                specs = [self._request_for(f"Restarted? {next(self._numbers)}") for _ in range(count)]
                tasks.create_task(self._submit(client, specs))

    async def _submit(self, client: AsyncClient, specs: Sequence[JobSpec]) -> None:
        self.job_ids += [job.job_id for job in await client.submit_many(specs)]


async def replaced(fleet: Fleet) -> list[Program]:
    """Start an executor for each that there is; return those that are to go."""
    old = list(fleet.stack.executors)
    new = [await fleet.stack.start_executor() for _ in old]
    await all_connected(new)
    return old


async def all_connected(executors: Iterable[Program]) -> None:
    for executor in executors:
        await connected_to(executor)
