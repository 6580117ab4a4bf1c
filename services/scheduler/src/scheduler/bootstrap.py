"""Wires the scheduler. The only module that knows every class."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass

from runtime import logs, tracing
from runtime.clock import Clock, SystemClock
from runtime.randomness import Randomness, SystemRandomness
from runtime.serving import GrpcServer
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.fleet import Fleet
from scheduler.http import server as http_server
from scheduler.image_cache import ImageCache
from scheduler.image_header import ImageLimits
from scheduler.images import AssignedImages
from scheduler.job_ids import JobIds
from scheduler.postgres.database import PoolSettings
from scheduler.postgres.store import PostgresStore, open_store
from scheduler.read import Read, ServedLanes
from scheduler.rescue import Rescue, maintain
from scheduler.rpc.errors import translate
from scheduler.rpc.executor_service import ExecutorServicer
from scheduler.rpc.vision_job_service import VisionJobServicer
from scheduler.settings import SchedulerSettings
from scheduler.stages import StageWriter
from scheduler.submit import Submit
from scheduler.validation import Defaults
from scheduler.watch import Watch, WatchHub
from scheduler.work import LivenessSettings, Work
from visionjobs.v1 import (
    executor_service_pb2,
    executor_service_pb2_grpc,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

_FLUSH_SECONDS = 10.0

_SERVICES = (
    vision_job_service_pb2.DESCRIPTOR.services_by_name["VisionJobService"].full_name,
    executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name,
)

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running scheduler is bound, each host:port."""

    grpc: str
    http: str


async def serve(settings: SchedulerSettings, stop: asyncio.Event) -> None:
    """Run a scheduler until `stop` is set.

    Raises:
        StoreUnavailable: The database does not answer at start.
        WrongRevision: The database has another revision.
        OSError: An address cannot be bound.
    """
    async with running(settings) as addresses:
        _log.info("scheduler_started", grpc_address=addresses.grpc, http_address=addresses.http)
        await stop.wait()
        _log.info("scheduler_stopping")
    _log.info("scheduler_stopped")


@contextlib.asynccontextmanager
async def running(settings: SchedulerSettings) -> AsyncIterator[Addresses]:
    """Run a scheduler while the block runs, then stop it gracefully. Raises as `serve`."""
    clock, randomness = SystemClock(), SystemRandomness()
    spans = tracing.configure(service_name="visionjobs-scheduler", randomness=randomness)
    pool = PoolSettings(
        min_size=settings.database_pool_min,
        max_size=settings.database_pool_max,
        idle_seconds=settings.database_pool_idle_seconds,
        connect_seconds=settings.database_connect_seconds,
    )
    try:
        async with open_store(settings.database_url.get_secret_value(), clock=clock, pool=pool) as store:
            scheduler = _Scheduler(settings, store, clock, randomness, spans)
            async with scheduler.running() as addresses:
                yield addresses
    finally:
        await asyncio.to_thread(spans.shutdown)


class _Scheduler:
    """The objects of one scheduler."""

    def __init__(
        self,
        settings: SchedulerSettings,
        store: PostgresStore,
        clock: Clock,
        randomness: Randomness,
        spans: tracing.Tracing,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        liveness = LivenessSettings(
            heartbeat_interval=datetime.timedelta(seconds=settings.heartbeat_seconds), lost_after=settings.lost_after
        )
        defaults = Defaults(
            models=settings.models,
            model=settings.models[0],
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            image_limits=ImageLimits(),
        )
        images, served = ImageCache(), ServedLanes(store=store, lost_after=settings.lost_after)
        self._hub = hub = WatchHub()
        self._fleet = Fleet()
        self._server = GrpcServer(address=settings.grpc_address, translate=translate)
        self._dispatcher = Dispatcher(
            store=store,
            time=store.time,
            clock=clock,
            fleet=self._fleet,
            images=images,
            hub=hub,
            tracing=spans,
            give_back=lambda attempts: self._completer.give_back(attempts, "Its stream broke before it was sent."),
        )
        self._stages = StageWriter(store=store, clock=clock)
        self._completer = Completer(
            store=store,
            time=store.time,
            clock=clock,
            randomness=randomness,
            hub=hub,
            stages=self._stages,
            tracing=spans,
            wake=self._dispatcher.wake,
            expect_due=self._dispatcher.expect_due,
        )
        self._rescue = Rescue(
            store=store,
            completer=self._completer,
            served=served,
            clock=clock,
            lost_after=settings.lost_after,
            on_health=self._on_health,
        )
        self._submit = Submit(
            store=store,
            time=store.time,
            ids=JobIds(randomness=randomness),
            images=images,
            defaults=defaults,
            wake=self._dispatcher.wake,
        )
        read = Read(store=store, served=served)
        work = Work(
            store=store,
            time=store.time,
            fleet=self._fleet,
            dispatcher=self._dispatcher,
            completer=self._completer,
            stages=self._stages,
            hub=hub,
            liveness=liveness,
        )
        vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(
            VisionJobServicer(
                submit=self._submit,
                read=read,
                watch=Watch(hub=hub, lookup=read),
                tracing=spans,
                max_image_bytes=defaults.image_limits.max_bytes,
            ),
            self._server.server,
        )
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(
            ExecutorServicer(work=work, images=AssignedImages(executors=store, images=store)), self._server.server
        )
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Addresses]:
        grpc_address = await self._server.start(_SERVICES)
        async with http_server.serving(self._settings.http_address) as http_address, asyncio.TaskGroup() as tasks:
            completing = tasks.create_task(self._completer.run())
            loops = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._stages.run()),
                tasks.create_task(self._rescue.run()),
                tasks.create_task(maintain(self._store, clock=self._clock)),
            ]
            try:
                yield Addresses(grpc=grpc_address, http=http_address)
            finally:
                await self._stop(loops)
                completing.cancel()

    async def _stop(self, loops: list[asyncio.Task[None]]) -> None:
        """Refuse what is new, let go of the executors, store what came in."""
        self._stopping = True
        await self._server.set_serving(serving=False)
        self._submit.stop()
        for loop in loops:
            loop.cancel()
        self._hub.close()
        self._fleet.close_all("The scheduler is stopping; dial another one.")
        await self._server.stop(self._settings.stop_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._completer.flush()

    async def _on_health(self, healthy: bool) -> None:  # noqa: FBT001 - the callback's only argument
        await self._server.set_serving(serving=healthy and not self._stopping)
