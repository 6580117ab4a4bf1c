"""What goes wrong: processes die, freeze and stop, streams break, and the database goes away for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim_sites import ExecutorSite, SchedulerSite

if TYPE_CHECKING:
    from sim_world import World


class Faults:
    """All faults of one history."""

    def __init__(self, world: World) -> None:
        self._world = world

    def plan(self) -> None:
        for _ in range(self._world.plan.faults):
            self._world.loop.later(self._world.draws.uniform(2.0, self._world.troubled_seconds), self._do_fault)
        for step in self._world.plan.kill_steps:
            self._world.loop.kill_at[step] = self._kill_here

    def _kill_here(self) -> None:
        """Kill the process whose turn it is, between two of its steps."""
        for site in self._sites():
            if site.machine is self._world.loop.stepping:
                site.kill(silently=False)

    def _do_fault(self) -> None:
        draws = self._world.draws
        match draws.choice(self._world.plan.fault_kinds):
            case "kill":
                self._any_site().kill(silently=draws.random() < 0.3)
            case "stop":
                self._any_site().stop()
            case "freeze":
                site = self._any_site()
                machine = site.machine
                seconds = draws.choice([2.0, 6.0, 9.0, 12.0, 20.0])
                if machine is not None and not machine.is_dead:
                    self._world.note(f"{machine.name} freezes for {seconds} s")
                    self._world.disturb(seconds)
                    self._world.loop.freeze(machine, seconds)
            case "silence":
                seconds = draws.choice([1.0, 5.0, 15.0, 60.0])
                self._world.disturb(seconds)
                self._world.network.silence(seconds)
            case "isolate":
                machine = draws.choice(self._world.executor_sites).machine
                seconds = draws.choice([draws.uniform(8.5, 11.0), draws.uniform(8.5, 11.0), draws.uniform(12.0, 25.0)])
                if machine is not None and not machine.is_dead:
                    self._world.note(f"{machine.name} is isolated for {seconds:.1f} s")
                    self._world.disturb(seconds)
                    self._world.network.isolate(machine, seconds)
            case "reset":
                self._world.disturb()
                self._world.network.reset_one()
            case _:
                seconds = draws.choice([0.5, 3.0, 15.0])
                self._world.disturb(seconds)
                self._world.note(f"the database is away for {seconds} s")
                self._world.database.away_until = max(self._world.database.away_until, self._world.loop.now + seconds)

    def _any_site(self) -> SchedulerSite | ExecutorSite:
        return self._world.draws.choice(self._sites())

    def _sites(self) -> list[SchedulerSite | ExecutorSite]:
        return [*self._world.scheduler_sites, *self._world.executor_sites]
