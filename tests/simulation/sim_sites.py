"""Where schedulers and executors run, one boot after the other: a supervisor starts what died, or was stopped."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from sim_loop import Machine, SimulatedClock
from sim_network import Host, SimulatedDialer
from sim_spool import SimulatedDisk, SimulatedSpool
from sim_store import SimulatedConnection

from executor.bootstrap import Executor
from executor.images import LocalImages
from executor.ports import ImageUnavailable, ModelImage
from executor.spans import Spans
from runtime.tracing import Tracing
from scheduler.assembly import Scheduler
from scheduler.callers import ANYBODY
from scheduler.errors import StoreUnavailable
from scheduler.rpc.gate import serve

if TYPE_CHECKING:
    from sim_world import World

_DRAIN_SECONDS = 10.0


class SeededRandomness:
    """Implements runtime.randomness.Randomness."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws

    def draw(self) -> float:
        return self._draws.random()

    def token(self, size: int) -> bytes:
        return self._draws.randbytes(size)


class _SlowPreparer:
    """Implements ports.ImagePreparer: it decodes nothing, and takes its time as one that does."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def prepare(self, data: bytes) -> ModelImage:
        await asyncio.sleep(self._world.draws.uniform(0.001, self._world.plan.preparing_seconds))
        return ModelImage(data, "image/png")


class _NoUris:
    """Implements ports.UriSource: nothing simulated is beyond the system."""

    async def fetch(self, uri: str) -> bytes:
        raise ImageUnavailable(f"{uri} cannot be reached.")


class _SimulatedSignals:
    """Words from one scheduler to the others; in some histories all of them get lost."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._said = -1.0

    def announce(self) -> None:
        loop = self._world.loop
        if self._world.plan.deaf or loop.now - self._said < 0.05:
            return
        self._said = loop.now
        for site in self._world.scheduler_sites:
            if site.host.name != self._name:
                loop.later(self._world.draws.uniform(0.001, 0.03), site.look)


class SchedulerSite:
    """Where a scheduler runs, one after the other."""

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self.host = host
        self.scheduler: Scheduler | None = None
        self.is_serving = False

    @property
    def machine(self) -> Machine | None:
        """Where it runs now."""
        return self.host.machine

    def boot(self) -> None:
        world, host = self._world, self.host
        machine = host.machine = Machine(host.name)
        self.scheduler = scheduler = machine.context.copy().run(self._build)
        host.servicer, self.is_serving = None, False
        # Here is no door, and nobody has a key.
        machine.context.run(serve, ANYBODY)
        world.loop.start(machine, self._run(scheduler, machine))
        world.note(f"{host.name} starts")

    def _build(self) -> Scheduler:
        world = self._world
        return Scheduler(
            world.settings,
            store=SimulatedConnection(world.database),
            signals=_SimulatedSignals(world, self.host.name),
            clock=SimulatedClock(world.loop),
            randomness=SeededRandomness(world.draws),
            spans=Tracing(randomness=SeededRandomness(world.draws)),
            on_health=_ignore_health,
            denied=lambda _: None,
            rerouted=lambda _: None,
        )

    async def _run(self, scheduler: Scheduler, machine: Machine) -> None:
        try:
            await scheduler.prepare()
            self.host.servicer = scheduler.executors
            self.is_serving = True
            await scheduler.run()
        except StoreUnavailable:
            # As a supervisor would: again, a little later.
            self._world.loop.later(1.0, self._boot_after, machine)

    def _boot_after(self, machine: Machine) -> None:
        if self.host.machine is machine:
            self.kill(silently=False)

    def kill(self, *, silently: bool) -> None:
        machine = self.host.machine
        if machine is None or machine.is_dead:
            return
        self._world.note(f"{self.host.name} is killed{' with its machine' if silently else ''}")
        machine.is_dead = True
        self._world.disturb()
        self._world.network.lose(machine, silently=silently)
        self._world.loop.later(self._world.draws.uniform(0.5, 6.0), self.boot)

    def stop(self) -> None:
        """Stop gracefully, and start again."""
        machine, scheduler = self.host.machine, self.scheduler
        if machine is None or machine.is_dead or scheduler is None:
            return
        self._world.note(f"{self.host.name} is stopped")

        async def end() -> None:
            scheduler.let_go()
            await asyncio.sleep(0.2)
            await scheduler.flush()
            self._world.loop.later(0.0, self.kill_quietly, machine)

        self._world.loop.start(machine, end())

    def kill_quietly(self, machine: Machine) -> None:
        if self.host.machine is machine:
            self.kill(silently=False)

    def look(self) -> None:
        machine, scheduler = self.host.machine, self.scheduler
        if machine is not None and not machine.is_dead and scheduler is not None:
            machine.context.copy().run(scheduler.look)


class ExecutorSite:
    """Where an executor runs, one boot after the other, on the same disk."""

    def __init__(self, world: World, name: str, capacity: int, lanes: tuple[str, ...]) -> None:
        self._world = world
        self.name = name
        self._capacity = capacity
        self._lanes = lanes
        self.disk = SimulatedDisk()
        self._boots = 0
        self.machine: Machine | None = None
        self.executor: Executor | None = None

    def boot(self) -> None:
        world = self._world
        self._boots += 1
        boot = f"{self.name}.{self._boots}"
        self.machine = machine = Machine(boot)
        self.executor = executor = machine.context.copy().run(self._build, boot, machine)
        world.loop.start(machine, executor.run())
        world.note(f"{boot} starts")

    def _build(self, boot: str, machine: Machine) -> Executor:
        world = self._world
        dialer = SimulatedDialer(world.network, machine)
        clock = SimulatedClock(world.loop)
        return Executor(
            boot=boot,
            capacity=self._capacity,
            lanes=self._lanes,
            drain_seconds=_DRAIN_SECONDS,
            models=world.provider.clients(boot),
            images=LocalImages(source=dialer, uris=_NoUris(), preparer=_SlowPreparer(world), clock=clock),
            dialer=dialer,
            spool=SimulatedSpool(self.disk, boot, world.loop),
            spans=Spans(Tracing(randomness=SeededRandomness(world.draws)), provider_urls={}),
            clock=clock,
            randomness=SeededRandomness(world.draws),
            on_connected=_ignore_connection,
        )

    def kill(self, *, silently: bool) -> None:
        machine = self.machine
        if machine is None or machine.is_dead:
            return
        self._world.note(f"{machine.name} is killed{' with its machine' if silently else ''}")
        machine.is_dead = True
        self._world.disturb()
        self.disk.living.discard(machine.name)
        self._world.network.lose(machine, silently=silently)
        self._world.loop.later(self._world.draws.uniform(0.5, 6.0), self.boot)

    def stop(self) -> None:
        """Stop gracefully, and start again."""
        machine, executor = self.machine, self.executor
        if machine is None or machine.is_dead or executor is None:
            return
        self._world.note(f"{machine.name} is stopped")

        async def end() -> None:
            await executor.stop()
            self._world.loop.later(0.0, self._end, machine)

        self._world.loop.start(machine, end())

    def _end(self, machine: Machine) -> None:
        if self.machine is machine:
            self.kill(silently=False)


async def _ignore_health(healthy: bool) -> None:
    del healthy


async def _ignore_connection(*, connected: bool) -> None:
    del connected
