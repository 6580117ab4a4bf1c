"""A disk with a spool on it: what is on it when a process dies is there for the next one."""

import asyncio
from collections.abc import Collection, Sequence

from sim_loop import SimulatedLoop

from executor.ports import SpoolUnwritable
from executor.work import AttemptId


class SimulatedDisk:
    """The spool directories of one host, by boot."""

    def __init__(self) -> None:
        self.boots: dict[str, dict[AttemptId, bytes]] = {}
        self.living: set[str] = set()


class SimulatedSpool:
    """Implements executor.ports.Spool: writing takes a moment, in which the process may die."""

    def __init__(self, disk: SimulatedDisk, boot: str, loop: SimulatedLoop) -> None:
        self._disk = disk
        self._boot = boot
        self._loop = loop

    async def open(self) -> Sequence[bytes]:
        await asyncio.sleep(0.002)
        mine = self._disk.boots.setdefault(self._boot, {})
        self._disk.living.add(self._boot)
        for boot in [each for each in self._disk.boots if each not in self._disk.living]:
            mine.update(self._disk.boots.pop(boot))
        return list(mine.values())

    async def write(self, records: Sequence[tuple[AttemptId, bytes]], *, forget: Collection[AttemptId]) -> None:
        await self.check()
        kept = self._disk.boots[self._boot]
        kept.update(records)
        for attempt in forget:
            kept.pop(attempt, None)
        await asyncio.sleep(0.001)

    async def check(self) -> None:
        await asyncio.sleep(0.001)
        if self._boot not in self._disk.boots:
            raise SpoolUnwritable("The spool is not open.")
