"""Puts the queue of one scheduler together: what deals jobs to executors, and takes in what became of them."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from policies import prices
from policies.breaker import BreakerRules
from runtime import tracing
from runtime.clock import Clock
from runtime.randomness import Randomness
from scheduler.alerts import Alerts
from scheduler.assign import Assigner
from scheduler.board import Board
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.findings import Findings
from scheduler.fleet import Fleet
from scheduler.health import LaneHealth
from scheduler.image_cache import ImageCache
from scheduler.lanes import Lane
from scheduler.permits import Permits
from scheduler.ports import Store
from scheduler.refusals import RefusalRules, Refusals
from scheduler.rescue import Rescue
from scheduler.settings import SchedulerSettings
from scheduler.signals import Signals
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.watch import WatchHub
from scheduler.work import LivenessSettings, Work
from scheduler.writing import OutcomeWriter

Loop = Callable[[], Coroutine[Any, Any, None]]


class Queue:
    """The objects of one scheduler's queue.

    Attributes:
        completer: Stores outcomes; its loop runs to the very end.
        loops: The other loops.
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
        rerouted: Callable[[str], None],
    ) -> None:
        self._signals = signals
        self._time = store.time
        self.hub = hub = WatchHub()
        self.fleet = fleet = Fleet()
        self.board = board = Board(store=store, time=store.time, seen_within=settings.lost_after)
        self._permits = permits = Permits(store=store, time=store.time, clock=clock, board=board)
        self.stops = stops = Stops(store=store, fleet=fleet, permits=permits, signals=signals, clock=clock)
        stages = StageWriter(store=store, clock=clock)
        self.refusals = refusals = Refusals(
            store=store,
            time=store.time,
            clock=clock,
            signals=signals,
            rules=RefusalRules(
                schema_failures=settings.schema_failures,
                schema_rest=settings.schema_stop,
                image_refusals=settings.image_refusals,
            ),
        )
        self.alerts = alerts = Alerts(store=store, time=store.time, clock=clock, on_reroute=rerouted)
        self.images = images = ImageCache()
        self.dispatcher = dispatcher = Dispatcher(
            store=store,
            time=store.time,
            clock=clock,
            fleet=fleet,
            assigner=Assigner(
                store=store,
                time=store.time,
                clock=clock,
                fleet=fleet,
                images=images,
                refusals=refusals,
                hub=hub,
                tracing=spans,
                give_back=lambda jobs, reason, after: self.completer.take_back(jobs, reason, after=after),
                end=lambda outcomes: self.completer.add(outcomes, None),
                low_priority_tier=settings.low_priority_tier,
            ),
            hub=hub,
            signals=signals,
            aging=settings.aging,
        )
        health = LaneHealth(
            store=store,
            time=store.time,
            randomness=randomness,
            board=board,
            permits=permits,
            signals=signals,
            rules=BreakerRules(failures=settings.breaker_failures, open_for=settings.breaker_open),
            wake_at=self._wake_at,
        )
        findings = Findings(store=store, refusals=refusals, alerts=alerts, models=_known_models(settings))
        self.completer = completer = Completer(
            store=store,
            time=store.time,
            clock=clock,
            randomness=randomness,
            health=health,
            writer=OutcomeWriter(
                store=store,
                health=health,
                stops=stops,
                hub=hub,
                stages=stages,
                wake=self.wake_everybody,
                expect_due=dispatcher.expect_due,
            ),
            findings=findings,
            stops=stops,
            tracing=spans,
            paid_cap=settings.max_paid_calls,
        )
        self.work = work = Work(
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
        self._rescue = rescue = Rescue(
            store=store,
            completer=completer,
            board=board,
            withdraw_unaccepted=work.withdraw_unaccepted,
            clock=clock,
            lost_after=settings.lost_after,
            on_health=on_health,
        )
        self.loops: Sequence[Loop] = (
            dispatcher.run,
            permits.run,
            stages.run,
            stops.run,
            rescue.run,
            refusals.run,
            alerts.run,
            findings.run,
        )

    async def prepare(self) -> None:
        """Know what there is before anybody asks. Raises StoreUnavailable."""
        await self.board.refresh()
        await self.refusals.refresh()
        await self.alerts.refresh()

    def look(self) -> None:
        """Another scheduler said that there is something to look at."""
        self.dispatcher.wake()
        self._permits.wake()
        self.stops.wake()
        self._rescue.wake()
        self.refusals.wake()

    def wake_everybody(self) -> None:
        """Jobs wait, or lanes take calls, that did not before."""
        self.dispatcher.wake()
        self._permits.wake()
        self._signals.announce()

    def let_go(self) -> None:
        """Send watchers and executors to another scheduler."""
        self.hub.close()
        self.fleet.close_all("The scheduler is stopping; dial another one.")

    def _wake_at(self, lane: Lane) -> None:
        closure = lane.closure(self._time.now())
        if closure is None:
            self.dispatcher.wake()
        elif closure[1] is not None:
            self.dispatcher.expect_due(closure[1])


def _known_models(settings: SchedulerSettings) -> set[str]:
    """Return the names of models that may begin the version of an answer."""
    return {price.model for price in prices.PRICES} | {*settings.models, *settings.deepseek_models}
