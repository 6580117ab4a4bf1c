"""Puts one scheduler together: its objects on any store, what its three services do, and the loops behind them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from runtime import tracing
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.slow_readers import SlowReaders
from scheduler.admission import Admission
from scheduler.again import Again
from scheduler.callers import SubmissionLimits
from scheduler.cancel import Cancel
from scheduler.collection import Collection
from scheduler.forgetting import Forgetting
from scheduler.http.app import application
from scheduler.image_header import ImageLimits
from scheduler.images import AssignedImages
from scheduler.job_ids import JobIds
from scheduler.keyring import Keyring
from scheduler.keys import Keys
from scheduler.links import Links
from scheduler.open_calls import OpenCalls
from scheduler.operate import Operate
from scheduler.ports import Store
from scheduler.purge import Purge
from scheduler.queue_assembly import Queue
from scheduler.read import Read
from scheduler.read_audit import ReadAudit
from scheduler.recent import RecentJobs
from scheduler.rescue import maintain
from scheduler.rpc.admin_service import AdminServicer
from scheduler.rpc.audit import Audit
from scheduler.rpc.executor_service import ExecutorServicer
from scheduler.rpc.gate import Gate
from scheduler.rpc.vision_job_service import VisionJobServicer
from scheduler.settings import SchedulerSettings
from scheduler.signals import Signals
from scheduler.submit import Submit
from scheduler.usage import GetUsage
from scheduler.validation import Defaults
from scheduler.watch import Watch

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
        rerouted: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._queue = queue = Queue(
            settings,
            store=store,
            signals=signals,
            clock=clock,
            randomness=randomness,
            spans=spans,
            on_health=on_health,
            rerouted=rerouted,
        )
        defaults = Defaults(
            models=settings.models,
            model=settings.models[0],
            deepseek_models=settings.deepseek_models,
            timeout=settings.timeout,
            flex_timeout=settings.flex_timeout,
            low_priority_tier=settings.low_priority_tier,
            max_retries=settings.max_retries,
            image_limits=ImageLimits(),
        )
        self._submit = submit = Submit(
            store=store,
            time=store.time,
            ids=JobIds(randomness=randomness),
            images=queue.images,
            defaults=defaults,
            board=queue.board,
            refusals=queue.refusals,
            signals=signals,
            wake=queue.dispatcher.wake,
            expect_due=queue.dispatcher.expect_due,
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
            outcomes_share=lambda: queue.completer.fill,
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
            store=store, recent=recent, images=queue.images, signals=signals, clock=clock
        )
        self._read = read = Read(store=store, time=store.time, board=queue.board, recent=recent)
        cancel = Cancel(store=store, read=read, stops=queue.stops, hub=queue.hub, wake=queue.wake_everybody)
        self._links = links = Links(store=store, jobs=read, time=store.time, public_url=settings.public_url)
        self.jobs = VisionJobServicer(
            submit=submit,
            read=read,
            watch=Watch(hub=queue.hub, lookup=read),
            cancel=cancel,
            again=Again(store=store, read=read, submit=submit),
            links=links,
            usage=GetUsage(store),
            tracing=spans,
            max_image_bytes=defaults.image_limits.max_bytes,
        )
        self._collection = collection = Collection(store=store, clock=clock)
        self.executors = ExecutorServicer(work=queue.work, images=AssignedImages(executors=store, images=store))
        self.operators = AdminServicer(
            operate=Operate(
                store=store, time=store.time, board=queue.board, signals=signals, wake=queue.wake_everybody
            ),
            keys=Keys(store=store, time=store.time, randomness=randomness, keyring=keyring, signals=signals),
            audit=ReadAudit(store),
            purge=Purge(store=store, cancel=cancel, forgetting=forgetting, on_images_removed=collection.wake),
            alerts=queue.alerts,
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
        gemini = [f"gemini/{model}" for model in self._settings.models]
        deepseek = [f"deepseek/{model}" for model in self._settings.deepseek_models]
        await self._store.add_lanes([*gemini, *deepseek])
        await self._queue.prepare()
        await self._keyring.refresh()

    async def run(self) -> None:
        """Work until cancelled; after `let_go` only outcomes are still stored."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._queue.completer.run())
            loops = [
                *(tasks.create_task(loop()) for loop in self._queue.loops),
                tasks.create_task(self._forgetting.run()),
                tasks.create_task(self._keyring.run()),
                tasks.create_task(self._collection.run()),
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
        self._queue.look()
        self._forgetting.wake()
        self._keyring.wake()

    def let_go(self) -> None:
        """Refuse what is new, and send watchers and executors to another scheduler."""
        self._submit.stop()
        self._letting_go.set()
        self._queue.let_go()

    async def flush(self) -> None:
        """Store the outcomes that came in, if that is possible in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._queue.completer.flush()
