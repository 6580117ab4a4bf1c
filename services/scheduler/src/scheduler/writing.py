"""Writes what became of attempts, and tells everybody here: watchers, other executors, and whoever deals what waits."""

import datetime
from collections.abc import Callable, Collection, Sequence

from scheduler.health import LaneHealth
from scheduler.ports import OutcomeStore
from scheduler.records import AdvanceRecord, AttemptId, Ended, FinalRecord, ReturnRecord
from scheduler.stages import StageWriter
from scheduler.stops import Stops
from scheduler.watch import WatchHub

Settled = FinalRecord | AdvanceRecord | ReturnRecord


class OutcomeWriter:
    """Ends jobs, brings them to their next step, and lets them wait again."""

    def __init__(
        self,
        *,
        store: OutcomeStore,
        health: LaneHealth,
        stops: Stops,
        hub: WatchHub,
        stages: StageWriter,
        wake: Callable[[], None],
        expect_due: Callable[[datetime.datetime], None],
    ) -> None:
        self._store = store
        self._health = health
        self._stops = stops
        self._hub = hub
        self._stages = stages
        self._wake = wake
        self._expect_due = expect_due

    async def write(self, settled: Sequence[Settled]) -> set[AttemptId]:
        """Store what became of jobs, each named once; return the attempts that are over by it.

        Raises:
            StoreUnavailable: Some may be stored; all may be written again.
        """
        # Each is announced before the next write, which may fail: nobody could tell of it afterwards.
        ended = await self._end([each for each in settled if isinstance(each, FinalRecord)])
        advanced = await self._advance([each for each in settled if isinstance(each, AdvanceRecord)])
        returned = await self._give_back([each for each in settled if isinstance(each, ReturnRecord)])
        return {*ended, *advanced, *returned}

    async def _end(self, finals: Sequence[FinalRecord]) -> Collection[AttemptId]:
        if not finals:
            return ()
        ended = await self._store.finish(finals)
        await self._tell(ended)
        if len(ended.changed) > len(ended.attempts) or (ended.attempts and self._health.bounds_flight):
            # A follower may stand in the place of its leader now, and the next job of a lane may run that bounds how
            # many do.
            self._wake()
        return ended.attempts

    async def _advance(self, advances: Sequence[AdvanceRecord]) -> Collection[AttemptId]:
        if not advances:
            return ()
        advanced = await self._store.advance(advances)
        await self._tell(advanced)
        if advanced.attempts:
            # They wait in other lanes now.
            self._wake()
        return advanced.attempts

    async def _give_back(self, returns: Sequence[ReturnRecord]) -> Collection[AttemptId]:
        if not returns:
            return ()
        returned = await self._store.give_back(returns)
        self._announce(returned, [attempt.job_id for attempt in returned])
        for back in returns:
            if back.due_time is not None:
                self._expect_due(back.due_time)
        if returned:
            self._wake()
        return returned

    async def _tell(self, ended: Ended) -> None:
        self._announce(ended.attempts, ended.changed)
        if ended.to_stop:
            await self._stops.stop(ended.to_stop)

    def _announce(self, over: Collection[AttemptId], changed: Collection[str]) -> None:
        for attempt in over:
            self._stages.forget(attempt)
        for job_id in changed:
            self._hub.job_changed(job_id)
