"""Wires the scheduler. The only module that knows every class."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from policies.breaker import BreakerRules
from runtime import logs, tracing
from runtime.clock import Clock, SystemClock
from runtime.randomness import Randomness, SystemRandomness
from runtime.serving import GrpcServer
from scheduler.again import Again
from scheduler.board import Board
from scheduler.cancel import Cancel
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.fleet import Fleet
from scheduler.health import LaneHealth
from scheduler.http import server as http_server
from scheduler.image_cache import ImageCache
from scheduler.image_header import ImageLimits
from scheduler.images import AssignedImages
from scheduler.job_ids import JobIds
from scheduler.lanes import Lane
from scheduler.operate import Operate
from scheduler.permits import Permits
from scheduler.ports import Store
from scheduler.postgres.database import PoolSettings
from scheduler.postgres.notifications import Notifications
from scheduler.postgres.store import open_store
from scheduler.read import Read
from scheduler.recent import RecentJobs
from scheduler.rescue import Rescue, maintain
from scheduler.rpc.admin_service import AdminServicer
from scheduler.rpc.errors import translate
from scheduler.rpc.executor_service import ExecutorServicer
from scheduler.rpc.vision_job_service import VisionJobServicer
from scheduler.settings import SchedulerSettings
from scheduler.signals import Signals
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.submit import Submit
from scheduler.validation import Defaults
from scheduler.watch import Watch, WatchHub
from scheduler.work import LivenessSettings, Work
from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    executor_service_pb2,
    executor_service_pb2_grpc,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

_FLUSH_SECONDS = 10.0

_SERVICES = (
    vision_job_service_pb2.DESCRIPTOR.services_by_name["VisionJobService"].full_name,
    executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name,
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
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
    url = settings.database_url.get_secret_value()
    try:
        async with open_store(url, clock=clock, pool=pool, result_lifetime=settings.result_lifetime) as store:
            signals = Notifications(url=url, database=store.database, sender=randomness.token(6).hex(), clock=clock)
            server = _Server(settings)
            scheduler = Scheduler(
                settings,
                store=store,
                signals=signals,
                clock=clock,
                randomness=randomness,
                spans=spans,
                on_health=server.set_healthy,
            )
            await scheduler.prepare()
            async with _serving(settings, server, scheduler, signals) as addresses:
                yield addresses
    finally:
        await asyncio.to_thread(spans.shutdown)


@contextlib.asynccontextmanager
async def _serving(
    settings: SchedulerSettings, server: "_Server", scheduler: "Scheduler", signals: Notifications
) -> AsyncIterator[Addresses]:
    grpc_address = await server.start(scheduler)
    async with http_server.serving(settings.http_address) as http_address, asyncio.TaskGroup() as tasks:
        working = [
            tasks.create_task(scheduler.run()),
            tasks.create_task(signals.run(scheduler.look)),
        ]
        try:
            yield Addresses(grpc=grpc_address, http=http_address)
        finally:
            await server.stop_serving()
            scheduler.let_go()
            await server.stop(settings.stop_seconds)
            await scheduler.flush()
            for task in working:
                task.cancel()


class _Server:
    """The gRPC server, and whether it says that it is well."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._grpc = GrpcServer(address=settings.grpc_address, translate=translate)
        self._stopping = False

    async def start(self, scheduler: "Scheduler") -> str:
        """Serve a scheduler; return the bound address. Raises OSError."""
        server = self._grpc.server
        vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(scheduler.jobs, server)
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler.executors, server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(scheduler.operators, server)
        return await self._grpc.start(_SERVICES)

    async def set_healthy(self, healthy: bool) -> None:  # noqa: FBT001 - the callback's only argument
        await self._grpc.set_serving(serving=healthy and not self._stopping)

    async def stop_serving(self) -> None:
        """Say that nobody should come any more."""
        self._stopping = True
        await self._grpc.set_serving(serving=False)

    async def stop(self, seconds: float) -> None:
        """End all calls, those that do not end by themselves after this time."""
        await self._grpc.stop(seconds)


class Scheduler:
    """The objects of one scheduler, on any store: what its three services do, and the loops behind them.

    Attributes:
        jobs: The servicer that backends call.
        executors: The servicer that executors call.
        operators: The servicer that operators call.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        *,
        store: Store,
        signals: Signals,
        clock: Clock,
        randomness: Randomness,
        spans: tracing.Tracing,
        on_health: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._hub = hub = WatchHub()
        self._fleet = fleet = Fleet()
        self._board = board = Board(store=store, time=store.time, seen_within=settings.lost_after)
        self._permits = permits = Permits(store=store, time=store.time, clock=clock, board=board)
        self._stops = stops = Stops(store=store, fleet=fleet, permits=permits, signals=signals, clock=clock)
        self._stages = stages = StageWriter(store=store, clock=clock)
        images = ImageCache()
        self._dispatcher = dispatcher = Dispatcher(
            store=store,
            time=store.time,
            clock=clock,
            fleet=fleet,
            images=images,
            hub=hub,
            signals=signals,
            tracing=spans,
            lose=lambda attempts: self._completer.take_back(attempts, "Its stream broke before it was sent."),
            aging=settings.aging,
        )

        def wake_everybody() -> None:
            dispatcher.wake()
            permits.wake()
            signals.announce()

        def wake_at(lane: Lane) -> None:
            closure = lane.closure(store.time.now())
            if closure is None:
                dispatcher.wake()
            elif closure[1] is not None:
                dispatcher.expect_due(closure[1])

        health = LaneHealth(
            store=store,
            time=store.time,
            randomness=randomness,
            board=board,
            permits=permits,
            signals=signals,
            rules=BreakerRules(failures=settings.breaker_failures, open_for=settings.breaker_open),
            wake_at=wake_at,
        )
        self._completer = completer = Completer(
            store=store,
            time=store.time,
            clock=clock,
            randomness=randomness,
            health=health,
            stops=stops,
            hub=hub,
            stages=stages,
            tracing=spans,
            wake=wake_everybody,
            expect_due=dispatcher.expect_due,
        )
        self._work = work = Work(
            store=store,
            time=store.time,
            clock=clock,
            fleet=fleet,
            board=board,
            dispatcher=dispatcher,
            completer=completer,
            permits=permits,
            stages=stages,
            hub=hub,
            liveness=LivenessSettings(heartbeat_interval=settings.heartbeat_interval, lost_after=settings.lost_after),
        )
        board.listen(work.withdraw_uncalled)
        self._rescue = Rescue(
            store=store,
            completer=completer,
            board=board,
            withdraw_unaccepted=work.withdraw_unaccepted,
            clock=clock,
            lost_after=settings.lost_after,
            on_health=on_health,
        )
        defaults = Defaults(
            models=settings.models,
            model=settings.models[0],
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            image_limits=ImageLimits(),
        )
        self._submit = submit = Submit(
            store=store,
            time=store.time,
            ids=JobIds(randomness=randomness),
            images=images,
            defaults=defaults,
            board=board,
            signals=signals,
            wake=dispatcher.wake,
            expect_due=dispatcher.expect_due,
        )
        read = Read(store=store, time=store.time, board=board, recent=RecentJobs(clock=clock))
        self.jobs = VisionJobServicer(
            submit=submit,
            read=read,
            watch=Watch(hub=hub, lookup=read),
            cancel=Cancel(store=store, read=read, stops=stops, hub=hub, wake=wake_everybody),
            again=Again(store=store, read=read, submit=submit),
            tracing=spans,
            max_image_bytes=defaults.image_limits.max_bytes,
        )
        self.executors = ExecutorServicer(work=work, images=AssignedImages(executors=store, images=store))
        self.operators = AdminServicer(
            operate=Operate(store=store, time=store.time, board=board, signals=signals, wake=wake_everybody),
            time=store.time,
        )
        self._letting_go = asyncio.Event()

    async def prepare(self) -> None:
        """Know the lanes, and make those that are missing, before anybody asks. Raises StoreUnavailable."""
        await self._store.add_lanes([f"gemini/{model}" for model in self._settings.models])
        await self._board.refresh()

    async def run(self) -> None:
        """Work until cancelled; after `let_go` only outcomes are still stored."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._completer.run())
            loops = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._permits.run()),
                tasks.create_task(self._stages.run()),
                tasks.create_task(self._stops.run()),
                tasks.create_task(self._rescue.run()),
                tasks.create_task(maintain(self._store, clock=self._clock)),
            ]
            await self._letting_go.wait()
            for loop in loops:
                loop.cancel()

    def look(self) -> None:
        """Another scheduler said that there is something to look at."""
        self._dispatcher.wake()
        self._permits.wake()
        self._stops.wake()
        self._rescue.wake()

    def let_go(self) -> None:
        """Refuse what is new, and send watchers and executors to another scheduler."""
        self._submit.stop()
        self._letting_go.set()
        self._hub.close()
        self._fleet.close_all("The scheduler is stopping; dial another one.")

    async def flush(self) -> None:
        """Store the outcomes that came in, if that is possible in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._completer.flush()
