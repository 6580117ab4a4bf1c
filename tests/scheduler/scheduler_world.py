"""One scheduler's use cases on a store in memory, in virtual time, among hand-written fakes."""

import asyncio
import contextlib
import datetime
import functools
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from stores import CLIENT, LANE

from devkit.virtual_time import VirtualClock
from policies.breaker import Breaker, BreakerRules
from policies.quota import Limits, Pace
from runtime.tracing import Tracing
from scheduler.again import Again
from scheduler.alerts import Alerts
from scheduler.assign import Assigner
from scheduler.board import Board
from scheduler.cancel import Cancel
from scheduler.collection import Collection
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.errors import StoreUnavailable
from scheduler.findings import Findings
from scheduler.fleet import Fleet
from scheduler.forgetting import Forgetting
from scheduler.health import LaneHealth
from scheduler.image_cache import ImageCache
from scheduler.job_ids import JobIds
from scheduler.jobs import Job, JobState, Stage
from scheduler.lanes import Lane
from scheduler.memory_store import MemoryStore
from scheduler.operate import Operate
from scheduler.permits import Permits
from scheduler.purge import Purge
from scheduler.read import Read
from scheduler.recent import RecentJobs
from scheduler.records import AttemptId
from scheduler.refusals import RefusalRules, Refusals
from scheduler.rescue import Rescue
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.submit import Submit
from scheduler.validation import Defaults
from scheduler.watch import WatchHub
from scheduler.work import LivenessSettings, Work
from scheduler.writing import OutcomeWriter

Hook = Callable[[], Awaitable[None] | None]

LOST_AFTER = datetime.timedelta(seconds=10)
OTHER_MODEL = "gemini-3.5-flash"
OTHER_LANE = f"gemini/{OTHER_MODEL}"
SECOND_MODEL = "deepseek-v4-flash"
SECOND_LANE = f"deepseek/{SECOND_MODEL}"


class FaultyStore(MemoryStore):
    """Counts its calls; is away when told to; does something `before` or `after` a named method."""

    def __init__(self, *, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.away = False
        self.calls: Counter[str] = Counter()
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not inspect.iscoroutinefunction(found):
            return found
        return functools.partial(self._call, name, found)

    async def _call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        self.calls[name] += 1
        await _happen(self.before.get(name))
        if self.away:
            raise StoreUnavailable("away")
        answer = await method(*args, **kwargs)
        await _happen(self.after.get(name))
        return answer


async def _happen(hook: Hook | None) -> None:
    happening = hook() if hook else None
    if happening is not None:
        await happening


def fail_times(times: int, error: Exception | None = None) -> Hook:
    """Return a hook that raises, this often."""
    left = [error or StoreUnavailable("away for a moment")] * times

    def fail() -> None:
        if left:
            raise left.pop()

    return fail


class FixedRandomness:
    def draw(self) -> float:
        return 0.0

    def token(self, size: int) -> bytes:
        return bytes(size)


class FakeSignals:
    def __init__(self) -> None:
        self.announced = 0

    def announce(self) -> None:
        self.announced += 1


class RecordingHub(WatchHub):
    """Keeps what watchers are told."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[str] = []
        self.entered: list[tuple[AttemptId, Stage]] = []

    def job_changed(self, job_id: str) -> None:
        self.changed.append(job_id)
        super().job_changed(job_id)

    def stage_entered(self, attempt: AttemptId, stage: Stage, time: datetime.datetime) -> None:
        self.entered.append((attempt, stage))
        super().stage_entered(attempt, stage, time)


class World:
    """Everything, wired as a scheduler wires it; `running` runs its loops."""

    def __init__(
        self,
        *,
        aging: datetime.timedelta | None = None,
        lost_after: datetime.timedelta = LOST_AFTER,
        low_priority_tier: str = "STANDARD",
        paid_cap: int = 0,
    ) -> None:
        self.clock = clock = VirtualClock()
        self.store = store = FaultyStore(clock=clock)
        self.signals = signals = FakeSignals()
        self.hub = hub = RecordingHub()
        self.fleet = fleet = Fleet()
        self.images = ImageCache()
        self.health_reports: list[bool] = []
        tracing, randomness = Tracing(randomness=FixedRandomness()), FixedRandomness()
        self.board = board = Board(store=store, time=clock, seen_within=lost_after)
        self.permits = permits = Permits(store=store, time=clock, clock=clock, board=board)
        self.stops = stops = Stops(store=store, fleet=fleet, permits=permits, signals=signals, clock=clock)
        self.stages = stages = StageWriter(store=store, clock=clock)
        self.refusals = refusals = Refusals(store=store, time=clock, clock=clock, signals=signals, rules=RefusalRules())
        self.rerouted: list[str] = []
        self.alerts = alerts = Alerts(store=store, time=clock, clock=clock, on_reroute=self.rerouted.append)
        self.dispatcher = dispatcher = Dispatcher(
            store=store,
            time=clock,
            clock=clock,
            fleet=fleet,
            assigner=Assigner(
                store=store,
                time=clock,
                clock=clock,
                fleet=fleet,
                images=self.images,
                refusals=refusals,
                hub=hub,
                tracing=tracing,
                give_back=lambda jobs, reason, after: self.completer.take_back(jobs, reason, after=after),
                end=lambda outcomes: self.completer.add(outcomes, None),
                low_priority_tier=low_priority_tier,
            ),
            hub=hub,
            signals=signals,
            aging=aging,
        )
        self.health = LaneHealth(
            store=store,
            time=clock,
            randomness=randomness,
            board=board,
            permits=permits,
            signals=signals,
            rules=BreakerRules(),
            wake_at=self._wake_at,
        )
        self.findings = findings = Findings(
            store=store, refusals=refusals, alerts=alerts, models=("gemini-3.8-flash", OTHER_MODEL, SECOND_MODEL)
        )
        self.completer = completer = Completer(
            store=store,
            time=clock,
            clock=clock,
            randomness=randomness,
            health=self.health,
            writer=OutcomeWriter(
                store=store,
                health=self.health,
                stops=stops,
                hub=hub,
                stages=stages,
                wake=self.wake,
                expect_due=dispatcher.expect_due,
            ),
            findings=findings,
            stops=stops,
            tracing=tracing,
            paid_cap=paid_cap,
        )
        self.work = work = Work(
            store=store,
            time=clock,
            clock=clock,
            fleet=fleet,
            board=board,
            dispatcher=dispatcher,
            completer=completer,
            permits=permits,
            stages=stages,
            hub=hub,
            liveness=LivenessSettings(lost_after=lost_after),
        )
        board.listen(work.withdraw_uncalled)
        self.rescue = Rescue(
            store=store,
            completer=completer,
            board=board,
            withdraw_unaccepted=work.withdraw_unaccepted,
            clock=clock,
            lost_after=lost_after,
            on_health=self._note_health,
        )
        self.submit = submit = Submit(
            store=store,
            time=clock,
            ids=JobIds(randomness=randomness),
            images=self.images,
            defaults=Defaults(models=("gemini-3.8-flash", OTHER_MODEL), model="gemini-3.8-flash"),
            board=board,
            refusals=refusals,
            signals=signals,
            wake=dispatcher.wake,
            expect_due=dispatcher.expect_due,
        )
        self.recent = recent = RecentJobs(clock=clock)
        self.forgetting = Forgetting(store=store, recent=recent, images=self.images, signals=signals, clock=clock)
        self.read = read = Read(store=store, time=clock, board=board, recent=recent)
        self.cancel = Cancel(store=store, read=read, stops=stops, hub=hub, wake=self.wake)
        self.collection = Collection(store=store, clock=clock)
        self.purge = Purge(
            store=store,
            cancel=self.cancel,
            forgetting=self.forgetting,
            on_images_removed=self.collection.wake,
        )
        self.again = Again(store=store, read=read, submit=submit)
        self.operate = Operate(store=store, time=clock, board=board, signals=signals, wake=self.wake)

    def wake(self) -> None:
        self.dispatcher.wake()
        self.permits.wake()
        self.signals.announce()

    def _wake_at(self, lane: Lane) -> None:
        closure = lane.closure(self.clock.now())
        if closure is None:
            self.dispatcher.wake()
        elif closure[1] is not None:
            self.dispatcher.expect_due(closure[1])

    async def _note_health(self, healthy: bool) -> None:
        self.health_reports.append(healthy)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run every loop of the scheduler."""
        loops = (
            self.completer,
            self.dispatcher,
            self.permits,
            self.stages,
            self.stops,
            self.rescue,
            self.forgetting,
            self.findings,
        )
        async with looping(*(loop.run for loop in loops)):
            await settle()
            yield

    async def set_lane(
        self,
        name: str = LANE,
        *,
        limits: Limits | None = None,
        breaker: Breaker | None = None,
        **changes: object,
    ) -> None:
        """Put a lane into the store and on the board."""
        fresh = Lane(name=name, limits=limits or Limits(), breaker=breaker or Breaker(), **changes)  # type: ignore[arg-type]
        await self.store.add_lanes([name])
        await self.store.change_lane(name, lambda _: (fresh, None))
        self.board.put(fresh)

    async def lane(self, name: str = LANE) -> Lane:
        return next(lane for lane in await self.store.lanes() if lane.name == name)

    async def pace(self, name: str = LANE) -> Pace:
        return (await self.lane(name)).pace

    async def see(self, job_id: str) -> Job:
        """Return the job as it stands in the store."""
        return (await self.store.get_jobs(CLIENT, [job_id], attempts=True))[job_id]

    async def states(self, job_ids: Sequence[str]) -> list[JobState]:
        return [(await self.see(job_id)).state for job_id in job_ids]


@contextlib.asynccontextmanager
async def looping(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run endless loops while the block runs."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_awaited(loop)) for loop in loops]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _awaited(loop: Callable[[], Awaitable[None]]) -> None:
    await loop()


async def settle() -> None:
    """Let everything happen that needs no time: the loop's time moves only when nothing is ready."""
    await asyncio.sleep(0.000_001)
