"""Clients: they submit, change their minds, and ask again until somebody answers."""

from __future__ import annotations

import asyncio
import datetime
import functools
import struct
import zlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sim_loop import SimulatedClock
from sim_provider import REWORK

from runtime.rpc_errors import RpcError
from scheduler.assembly import Scheduler
from scheduler.errors import InvalidRequest, SchedulerError, Stopping, StoreUnavailable
from visionjobs.v1 import admin_service_pb2, job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

if TYPE_CHECKING:
    from sim_world import World

LANE = "gemini/gemini-3.8-flash"
SCHEMA = '{"type": "object", "properties": {"echo": {"type": "string"}}, "required": ["echo"]}'
SECOND_SCHEMA = '{"type": "object", "properties": {"reworked": {"type": "string"}}, "required": ["reworked"]}'
SECOND_MODEL = "deepseek-v4-flash"
_CALL_SECONDS = 5.0


class Clients:
    """All clients of one history.

    Attributes:
        accepted: The job of each request_id that was answered.
        busy: How many are not done yet.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.accepted: dict[str, str] = {}
        self.busy = 0

    def plan(self) -> None:
        for number in range(self._world.plan.jobs):
            self._later_client(self._world.draws.uniform(0.0, self._world.troubled_seconds * 0.7), self._submit(number))
        if self._world.plan.requests_per_minute:
            self._later_client(0.5, self._limit())

    def _later_client(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        self.busy += 1

        async def live() -> None:
            try:
                await work
            finally:
                self.busy -= 1

        self._world.loop.later(seconds, lambda: self._world.loop.create_task(live()))

    async def _submit(self, number: int) -> None:
        draws = self._world.draws
        key = number // 3 if draws.random() < 0.3 else number
        spec = job_pb2.JobSpec(
            user_id="user",
            images=[job_pb2.Image(data=draws.choice(_IMAGES))],
            prompt=f"request {key}",
            response_schema_json=SCHEMA,
            priority=draws.randint(1, 3),
            max_retries=draws.randint(0, 4),
            cache=draws.choice(
                [job_pb2.CACHE_POLICY_USE] * 4 + [job_pb2.CACHE_POLICY_OFF, job_pb2.CACHE_POLICY_REFRESH]
            ),
        )
        if key % 3 == 0:
            spec.post_process.model = SECOND_MODEL
            spec.post_process.prompt = REWORK + spec.prompt
            spec.post_process.response_schema_json = SECOND_SCHEMA
        now = SimulatedClock(self._world.loop).now()
        if draws.random() < 0.1:
            spec.schedule_time.FromDatetime(now + _seconds(draws.uniform(1, 20)))
        elif draws.random() < 0.1:
            spec.expire_time.FromDatetime(now + _seconds(draws.uniform(1, 30)))
        request = pb.SubmitJobRequest(spec=spec, request_id=f"r{number}")
        try:
            response = await self._call(lambda scheduler: scheduler.jobs.SubmitJob(request, _CONTEXT))
        except InvalidRequest as error:
            # Its time was over before anybody answered.
            self._world.note(f"refused: {error}")
            return
        job_id = response.job.job_id
        self.accepted[f"r{number}"] = job_id
        self._world.note(f"accepted {job_id[-6:]} as {spec.prompt}, priority {spec.priority}")
        if draws.random() < 0.15:
            await asyncio.sleep(draws.uniform(0.0, 10.0))
            await self._cancel(job_id)
        if draws.random() < 0.15:
            await asyncio.sleep(draws.uniform(5.0, 40.0))
            await self._again(job_id)

    async def _cancel(self, job_id: str) -> None:
        self._world.note(f"cancel {job_id[-6:]}")
        try:
            await self._call(lambda scheduler: scheduler.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id), _CONTEXT))
        except SchedulerError as error:
            self._world.note(f"not cancelled: {error}")

    async def _again(self, job_id: str) -> None:
        request = pb.RetryJobRequest(job_id=job_id, request_id=f"again {job_id}")
        try:
            response = await self._call(lambda scheduler: scheduler.jobs.RetryJob(request, _CONTEXT))
        except SchedulerError as error:
            self._world.note(f"not done again: {error}")
            return
        self.accepted[request.request_id] = response.job.job_id
        self._world.note(f"{job_id[-6:]} is done again as {response.job.job_id[-6:]}, from step {response.job.step}")

    async def _limit(self) -> None:
        request = admin_service_pb2.UpdateLaneRequest(
            lane=LANE, requests_per_minute=self._world.plan.requests_per_minute
        )
        await self._call(lambda scheduler: scheduler.operators.UpdateLane(request, _CONTEXT))

    async def _call(self, method: Callable[[Scheduler], Coroutine[Any, Any, Any]]) -> Any:
        """Ask some scheduler until one answers."""
        while True:
            site = self._world.draws.choice(self._world.scheduler_sites)
            machine, scheduler = site.host.machine, site.scheduler
            if machine is not None and not machine.is_dead and scheduler is not None and site.is_serving:
                answered = self._world.loop.create_future()
                await asyncio.sleep(self._world.draws.uniform(0.001, 0.02))
                self._world.loop.start(machine, _answer(functools.partial(method, scheduler), answered))
                try:
                    async with asyncio.timeout(_CALL_SECONDS):
                        answer = await answered
                        await asyncio.sleep(self._world.draws.uniform(0.001, 0.02))
                        return answer
                except (TimeoutError, StoreUnavailable, Stopping, RpcError):
                    pass
            await asyncio.sleep(self._world.draws.uniform(0.2, 1.0))


class _Context:
    def invocation_metadata(self) -> tuple[()]:
        return ()


_CONTEXT = _Context()


def _seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


async def _answer(work: Callable[[], Coroutine[Any, Any, Any]], answered: asyncio.Future[Any]) -> None:
    try:
        answer = await work()
    except (SchedulerError, RpcError) as error:
        if not answered.done():
            answered.set_exception(error)
    else:
        if not answered.done():
            answered.set_result(answer)


def _png(side: int, padding: int) -> bytes:
    """Return something with the header of a picture, and this much more."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + bytes(padding)
    )


# One goes inline, one is fetched.
_IMAGES = (_png(10, 100), _png(11, 100), _png(12, 70_000))
