"""Puts one scheduler together: its objects on any store, what its three services do, and the loops behind them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from policies.breaker import BreakerRules
from runtime import tracing
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.slow_readers import SlowReaders
from scheduler.admission import Admission
from scheduler.again import Again
from scheduler.board import Board
from scheduler.callers import SubmissionLimits
from scheduler.cancel import Cancel
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.fleet import Fleet
from scheduler.forgetting import Forgetting
from scheduler.health import LaneHealth
from scheduler.http.app import application
from scheduler.image_cache import ImageCache
from scheduler.image_header import ImageLimits
from scheduler.images import AssignedImages
from scheduler.job_ids import JobIds
from scheduler.keyring import Keyring
from scheduler.keys import Keys
from scheduler.lanes import Lane
from scheduler.links import Links
from scheduler.open_calls import OpenCalls
from scheduler.operate import Operate
from scheduler.permits import Permits
from scheduler.ports import Store
from scheduler.purge import Purge
from scheduler.read import Read
from scheduler.read_audit import ReadAudit
from scheduler.recent import RecentJobs
from scheduler.rescue import Rescue, maintain
from scheduler.rpc.admin_service import AdminServicer
from scheduler.rpc.audit import Audit
from scheduler.rpc.executor_service import ExecutorServicer
from scheduler.rpc.gate import Gate
from scheduler.rpc.vision_job_service import VisionJobServicer
from scheduler.settings import SchedulerSettings
from scheduler.signals import Signals
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.submit import Submit
from scheduler.validation import Defaults
from scheduler.watch import Watch, WatchHub
from scheduler.work import LivenessSettings, Work

_FLUSH_SECONDS = 10.0


class Scheduler:
    """The objects of one scheduler, on any store: what its three services do, and the loops behind them.

    Attributes:
        jobs: The servicer that backends call.
        executors: The servicer that executors call.
        operators: The servicer that operators call.
        gate: The door before all of them.
        has_keys: Whether callers need a key; known from `prepare` on.
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
        denied: Callable[[str], None],
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
        self._keyring = keyring = Keyring(
            store=store,
            time=store.time,
            clock=clock,
            defaults=SubmissionLimits(
                per_second=settings.client_submissions_per_second or None,
                max_queued=settings.client_max_queued_jobs or None,
            ),
        )
        self._admission = Admission(
            clock=clock,
            randomness=randomness,
            outcomes_share=lambda: completer.fill,
            max_submissions=settings.max_submissions,
        )
        self._slow_readers = SlowReaders(seconds=settings.slow_peer_seconds, clock=clock)
        self.gate = Gate(
            keyring=keyring,
            admission=self._admission,
            open_calls=OpenCalls(settings.open_call_limits),
            slow_readers=self._slow_readers,
            audit=Audit(store),
            reflection=settings.reflection,
            on_denied=denied,
        )
        self._denied = denied
        recent = RecentJobs(clock=clock)
        self._forgetting = forgetting = Forgetting(
            store=store, recent=recent, images=images, signals=signals, clock=clock
        )
        self._read = read = Read(store=store, time=store.time, board=board, recent=recent)
        cancel = Cancel(store=store, read=read, stops=stops, hub=hub, wake=wake_everybody)
        self._links = links = Links(store=store, jobs=read, time=store.time, public_url=settings.public_url)
        self.jobs = VisionJobServicer(
            submit=submit,
            read=read,
            watch=Watch(hub=hub, lookup=read),
            cancel=cancel,
            again=Again(store=store, read=read, submit=submit),
            links=links,
            tracing=spans,
            max_image_bytes=defaults.image_limits.max_bytes,
        )
        self.executors = ExecutorServicer(work=work, images=AssignedImages(executors=store, images=store))
        self.operators = AdminServicer(
            operate=Operate(store=store, time=store.time, board=board, signals=signals, wake=wake_everybody),
            keys=Keys(store=store, time=store.time, randomness=randomness, keyring=keyring, signals=signals),
            audit=ReadAudit(store),
            purge=Purge(store=store, cancel=cancel, forgetting=forgetting),
            time=store.time,
        )
        self._letting_go = asyncio.Event()

    def http(self, registry: CollectorRegistry) -> ASGIApp:
        """Return what the HTTP port answers; the registry holds the metrics that it shows."""
        return application(
            jobs=self._read,
            keys=self._keyring,
            links=self._links,
            time=self._store.time,
            registry=registry,
            on_denied=self._denied,
        )

    @property
    def has_keys(self) -> bool:
        return not self._keyring.is_open

    async def prepare(self) -> None:
        """Know the lanes, and make those that are missing, before anybody asks. Raises StoreUnavailable."""
        await self._store.add_lanes([f"gemini/{model}" for model in self._settings.models])
        await self._board.refresh()
        await self._keyring.refresh()

    async def run(self) -> None:
        """Work until cancelled; after `let_go` only outcomes are still stored."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._completer.run())
            loops = [
                tasks.create_task(self._dispatcher.run()),
                tasks.create_task(self._permits.run()),
                tasks.create_task(self._stages.run()),
                tasks.create_task(self._stops.run()),
                tasks.create_task(self._forgetting.run()),
                tasks.create_task(self._rescue.run()),
                tasks.create_task(self._keyring.run()),
                tasks.create_task(self.gate.run()),
                tasks.create_task(self._admission.run()),
                tasks.create_task(self._slow_readers.run()),
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
        self._forgetting.wake()
        self._rescue.wake()
        self._keyring.wake()

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
