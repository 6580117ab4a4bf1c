"""What operators do to lanes and submissions. It holds for the whole fleet."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies import quota
from policies.breaker import Breaker
from policies.quota import Ask, Limits
from runtime import logs
from scheduler.board import Board
from scheduler.errors import InvalidRequest, LaneNotFound, Violation
from scheduler.lanes import Lane
from scheduler.ports import LaneStore, StoreClock
from scheduler.records import LaneLoad
from scheduler.signals import Signals

ALL_LANES = "*"

MAX_LIMIT = 1_000_000_000
"""Of every limit: more than any provider grants, and few enough for the claim to count with."""

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane as operators see it."""

    lane: Lane
    load: LaneLoad


class Operate:
    """The use case. `wake` is called after every change: lanes may take calls now."""

    def __init__(
        self, *, store: LaneStore, time: StoreClock, board: Board, signals: Signals, wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._time = time
        self._board = board
        self._signals = signals
        self._wake = wake

    async def lanes(self) -> Sequence[LaneView]:
        """Return every lane, by name."""
        return self._views(await self._store.lanes(), await self._store.lane_loads())

    async def update(self, name: str, limits: Mapping[str, float]) -> LaneView:
        """Change limits, named as in policies.quota.Limits; 0 means no limit.

        Raises:
            InvalidRequest: A limit is negative, or larger than MAX_LIMIT.
            LaneNotFound: There is no such lane.
        """
        if violations := [
            Violation(limit, f"must be 0, or a positive number up to {MAX_LIMIT}")
            for limit, value in limits.items()
            if not 0 <= value <= MAX_LIMIT
        ]:
            raise InvalidRequest(violations)
        changes: dict[str, Any] = {limit: value or None for limit, value in limits.items()}
        return await self._change_one(
            name, lambda lane: with_limits(lane, dataclasses.replace(lane.limits, **changes), now=self._time.now())
        )

    async def pause(self, name: str) -> Sequence[LaneView]:
        """Hand out no more work of a lane, or of all. Raises LaneNotFound."""
        return await self._change_some(name, lambda lane: dataclasses.replace(lane, paused=True))

    async def resume(self, name: str) -> Sequence[LaneView]:
        """End the pause, the stop, and the time that the provider named, of a lane or of all. Raises LaneNotFound."""
        return await self._change_some(
            name,
            lambda lane: dataclasses.replace(lane, paused=False, stopped_reason="", closed_until=None, throttles=0),
        )

    async def reset_breaker(self, name: str) -> LaneView:
        """Close a lane's breaker, and forget its failures. Raises LaneNotFound."""
        return await self._change_one(name, lambda lane: dataclasses.replace(lane, breaker=Breaker()))

    async def set_accepting(self, *, accepting: bool) -> None:
        """Take submissions, or refuse them."""
        await self._store.set_accepting(accepting=accepting)
        self._board.set_accepting(accepting=accepting)
        self._signals.announce()
        _log.info("accepting_changed", accepting=accepting)

    async def _change_some(self, name: str, change: Callable[[Lane], Lane]) -> Sequence[LaneView]:
        names = [lane.name for lane in await self._store.lanes()] if name == ALL_LANES else [name]
        return await self._change(names, change)

    async def _change_one(self, name: str, change: Callable[[Lane], Lane]) -> LaneView:
        [view] = await self._change([name], change)
        return view

    async def _change(self, names: Sequence[str], change: Callable[[Lane], Lane]) -> Sequence[LaneView]:
        lanes = []
        for name in names:
            changed = await self._store.change_lane(name, lambda lane: (change(lane), None))
            if changed is None:
                raise LaneNotFound(name)
            lane, _ = changed
            lanes.append(lane)
            self._board.put(lane)
            self._signals.announce()
            self._wake()
            _log.info("lane_changed", lane=name, paused=lane.paused, limits=dataclasses.asdict(lane.limits))
        return self._views(lanes, await self._store.lane_loads())

    def _views(self, lanes: Sequence[Lane], loads: Mapping[str, LaneLoad]) -> list[LaneView]:
        return [LaneView(lane, loads.get(lane.name, LaneLoad())) for lane in lanes]


def with_limits(lane: Lane, limits: Limits, *, now: datetime.datetime) -> Lane:
    """Return the lane with other limits; the next permit is not due later than they want."""
    pace = lane.pace
    if limits.requests_per_minute is not None and lane.limits.requests_per_minute is None:
        # How far apart the last calls were nobody watched: the first permit comes after one interval.
        pace = dataclasses.replace(pace, next_permit_time=now + (quota.interval(limits) or datetime.timedelta()))
    return dataclasses.replace(lane, limits=limits, pace=quota.reconsider(pace, limits, Ask(0, 0.0), now=now))
