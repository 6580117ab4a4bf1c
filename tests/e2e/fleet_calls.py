"""What tests of many programs say again and again: jobs to submit, states to wait for, the emulator to steer."""

import asyncio
import contextlib
import datetime
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from devkit.programs import Program, logged
from devkit.stack import Stack
from visionjobs import AsyncClient, Job, JobStage, JobState, JobView, Lane, WaitReason

PATIENCE_SECONDS = 60.0
"""How long anything may take on a busy machine; whoever waits longer has found a fault."""

BATCH = 100


class Emulator:
    """The control paths of the stack's emulator."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def script(self, kind: str, **fields: Any) -> None:
        (await self._http.post("/emulator/faults", json={"kind": kind, **fields})).raise_for_status()

    async def release(self) -> None:
        """Let held calls go, and hold no more."""
        (await self._http.post("/emulator/release")).raise_for_status()

    async def limit(self, **quotas: int) -> None:
        """Set the provider's quotas of every model; what is not named is no limit."""
        (await self._http.put("/emulator/quotas", json=quotas)).raise_for_status()

    async def reroute(self, models: Mapping[str, str]) -> None:
        """Let other models answer in the place of these."""
        (await self._http.put("/emulator/models", json={"rerouted": dict(models)})).raise_for_status()

    async def reset(self) -> None:
        """Forget script and quotas, and let go whoever waits."""
        (await self._http.delete("/emulator/faults")).raise_for_status()
        await self.limit()
        await self.release()

    async def calls(self, *, model: str = "", prompt: str = "", count: int = 0) -> list[dict[str, Any]]:
        """Return the calls that arrived, as soon as there are so many."""
        query: dict[str, str | float] = {"model": model, "count": count, "seconds": PATIENCE_SECONDS}
        query["prompt_sha256"] = sha256(prompt) if prompt else ""
        answer = await self._http.get("/emulator/calls", params=query)
        calls: list[dict[str, Any]] = answer.json()["calls"]
        assert len(calls) >= count, f"{len(calls)} calls came, not {count}"
        return calls

    async def bills(self, *, model: str = "") -> list[dict[str, Any]]:
        ledger: list[dict[str, Any]] = (await self._http.get("/emulator/ledger")).json()["calls"]
        return [call for call in ledger if model in ("", call["model"])]


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running system with a client of each of its schedulers."""

    stack: Stack
    emulator: Emulator
    clients: tuple[AsyncClient, ...]


@contextlib.asynccontextmanager
async def fleet_of(stack: Stack) -> AsyncIterator[Fleet]:
    """Make the clients of a system."""
    async with contextlib.AsyncExitStack() as exits:
        assert stack.emulator_url
        http = await exits.enter_async_context(
            httpx2.AsyncClient(base_url=stack.emulator_url, timeout=2 * PATIENCE_SECONDS)
        )
        clients = [await exits.enter_async_context(AsyncClient(each.address)) for each in stack.schedulers]
        yield Fleet(stack, Emulator(http), tuple(clients))


def sha256(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def time_of(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


async def until(client: AsyncClient, job_id: str, holds: Callable[[Job], bool]) -> Job:
    """Watch a job until something holds of it."""
    async with asyncio.timeout(PATIENCE_SECONDS), contextlib.aclosing(client.watch(job_id)) as changes:
        async for job in changes:
            if holds(job):
                return job
    raise AssertionError(f"the job {job_id} ended before that")


async def called(fleet: Fleet, job: Job, *, times: int = 1) -> Job:
    """Wait until the call of a job is with the provider, and return the job; `times` counts its prompt's calls."""
    await fleet.emulator.calls(prompt=job.spec.prompt, count=times)
    return await until(fleet.clients[0], job.job_id, lambda now: now.stage is JobStage.GEMINI_ANALYZING)


async def finished(
    client: AsyncClient, job_ids: Iterable[str], *, within_seconds: float = PATIENCE_SECONDS
) -> list[Job]:
    """Wait until jobs are final; return them whole, in their order."""
    ids = list(job_ids)
    async with asyncio.timeout(within_seconds):
        async for _ in client.watch_many(ids):
            pass
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    return [job for batch in batches for job in await client.batch_get(batch, view=JobView.FULL)]


async def waits(client: AsyncClient, job_id: str, reason: WaitReason) -> Job:
    """Ask for a job until it waits for this reason: what a lane does to its jobs is no change of theirs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (job := await client.get(job_id)).wait is None or job.wait.reason is not reason:
            assert not job.state.is_final, f"the job {job_id} ended {job.state}"
            await asyncio.sleep(0.02)
    return job


async def lane_where(client: AsyncClient, name: str, holds: Callable[[Lane], bool]) -> Lane:
    """Ask for a lane until something holds of it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for lane in await client.list_lanes():
                if lane.lane == name and holds(lane):
                    return lane
            await asyncio.sleep(0.02)


async def connected_to(executor: Program, *, other_than: str = "") -> str:
    """Wait until an executor has had another scheduler than that; return the address."""
    address = logged("scheduler_connected", "address")

    def find(line: str) -> str | None:
        found = address(line)
        return found if found != other_than else None

    return await executor.ready(find)


async def came_back(executor: Program, *, first_session: str) -> None:
    """Wait until an executor has been welcomed once more."""
    session = logged("scheduler_connected", "session")

    def find(line: str) -> str | None:
        found = session(line)
        return found if found != first_session else None

    await executor.ready(find)


def succeeded(jobs: Iterable[Job]) -> bool:
    return all(job.state is JobState.SUCCEEDED for job in jobs)
