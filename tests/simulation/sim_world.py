"""One history: two schedulers, some executors, clients, and everything that can go wrong, drawn from one seed."""

import asyncio
import random
from dataclasses import dataclass, field

from sim_clients import Clients
from sim_faults import Faults
from sim_loop import SimulatedClock, SimulatedLoop, StandsStill, current_machine
from sim_network import Host, Network
from sim_plan import plan_of
from sim_provider import Call, Mood, SimulatedProvider
from sim_sites import ExecutorSite, SchedulerSite
from sim_store import SimulatedDatabase

from scheduler.memory_row import JobRow
from scheduler.settings import SchedulerSettings

_HEARD_SECONDS = 10.0


class Broken(Exception):
    """A promise was broken; the message says which."""


@dataclass
class World:
    """Everything of one history."""

    seed: int
    troubled_seconds: float = 60.0
    quiet_seconds: float = 1_200.0
    history: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)
        self.plan = plan_of(self.draws)
        self.loop = SimulatedLoop()
        self.database = SimulatedDatabase(self.loop, self.draws)
        self.database.on_wrong = lambda wrong: self.broken.append(wrong)
        self.database.slow = self.plan.slow_statements
        self.database.paid_cap = self.plan.paid_cap
        self.provider = SimulatedProvider(self.loop, self.draws, self.plan.mood)
        self.provider.on_call = self._watch_call
        hosts = [Host("s1"), Host("s2")]
        self.network = Network(self.loop, self.draws, hosts, self.note)
        self.settings = SchedulerSettings.model_validate(
            {
                "database_url": "postgresql://simulated",
                "breaker_open_seconds": 8.0,
                "timeout_seconds": 25.0,
                "flex_timeout_seconds": 30.0,
                "max_paid_calls": self.plan.paid_cap,
            }
        )
        self.scheduler_sites = [SchedulerSite(self, host) for host in hosts]
        self.executor_sites = [
            ExecutorSite(self, f"e{number + 1}", self.plan.capacity, self.plan.served[number % len(self.plan.served)])
            for number in range(self.plan.executors)
        ]
        self.broken: list[str] = []
        # From when to when something was out of order.
        self.disturbances: list[tuple[float, float]] = []
        self.clients = Clients(self)
        self.faults = Faults(self)

    def disturb(self, seconds: float = 0.0) -> None:
        """Note that something is out of order for so long."""
        self.disturbances.append((self.loop.now, self.loop.now + seconds))

    def note(self, event: str) -> None:
        """Add a line to the history."""
        machine = current_machine()
        self.history.append(f"{self.loop.now:9.3f} {machine.name if machine else '-':6} {event}")

    def run(self) -> None:
        """Live it. Raises Broken."""
        asyncio.set_event_loop(self.loop)
        try:
            for site in self.scheduler_sites:
                site.boot()
            for executor_site in self.executor_sites:
                self.loop.later(self.draws.uniform(0.0, 1.0), executor_site.boot)
            self.clients.plan()
            self.faults.plan()
            self.loop.run_until_complete(self._live())
        except StandsStill:
            raise Broken("Everything stands still.") from None
        finally:
            self.loop.throw_away()
            asyncio.set_event_loop(None)

    async def _live(self) -> None:
        await self._come_to_rest()
        # Acknowledgements are on their way, and whatever else follows the last end.
        await asyncio.sleep(45.0)
        await self._come_to_rest()
        for failure in self.loop.failures:
            raise Broken(f"Unexpected: {failure.get('message')} {failure.get('exception')!r}")
        for broken in self.broken:
            raise Broken(broken)

    async def _come_to_rest(self) -> None:
        while self.loop.now < self.troubled_seconds or not self._is_settled():
            if self.broken or self.loop.failures:
                break
            if self.loop.now > self.troubled_seconds:
                # The provider is well again: what is left must come to its end.
                self.provider.mood = Mood(max_latency=1.0)
            if self.loop.now > self.troubled_seconds + self.quiet_seconds:
                raise Broken(f"Not settled in time: {self._unsettled()}")
            await asyncio.sleep(1.0)

    def _is_settled(self) -> bool:
        return self.clients.busy == 0 and all(row.job.state.is_final for row in self.rows())

    def _unsettled(self) -> str:
        rows = [row for row in self.rows() if not row.job.state.is_final]
        return f"{self.clients.busy} clients, {[(row.job.job_id, row.job.state.name, row.job.executor_id) for row in rows]}"

    def rows(self) -> list[JobRow]:
        return list(self.database.store._rows.values())

    def _watch_call(self, call: Call) -> None:
        self.note(f"call {call.step} for {call.prompt}")
        rows = [row for row in self.rows() if row.job.spec.prompt == call.prompt]
        if not any(self._is_for(row, call) or self._was_for(row, call) for row in rows):
            self.broken.append(f"{call.caller} called {call.step} for {call.prompt}, which was not its own any more")

    def _is_for(self, row: JobRow, call: Call) -> bool:
        job = row.job
        return job.state.name == "RUNNING" and job.executor_id == call.caller and job.step == call.step

    def _was_for(self, row: JobRow, call: Call) -> bool:
        """Return whether the step was the caller's, and was over so lately that it may not have heard of it."""
        over = self.database.advanced.get(row.job.job_id) if call.step < row.job.step else row.job.finish_time
        if over is None or (SimulatedClock(self.loop).now() - over).total_seconds() > _HEARD_SECONDS:
            return False
        return any((each.executor_id, each.step) == (call.caller, call.step) for each in row.ended.by_number.values())
