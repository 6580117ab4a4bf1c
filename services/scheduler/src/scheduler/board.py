"""What this scheduler knows of the fleet without asking: which lanes are served, how they stand, what is accepted.

Refreshed once a second and on every word from another scheduler, so that a read or a submission costs no query of its
own. What this scheduler changes itself stands here at once.
"""

import datetime
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scheduler.lanes import Lane
from scheduler.ports import ExecutorStore, LaneStore, StoreClock
from scheduler.waiting import Surroundings


class BoardStore(ExecutorStore, LaneStore, Protocol):
    """What the board is read from."""


@dataclass
class _Changes:
    """What this scheduler changed since the latest look began, which may not have seen it."""

    lanes: dict[str, Lane] = field(default_factory=dict)
    accepting: bool | None = None


class Board:
    """The latest look."""

    def __init__(self, *, store: BoardStore, time: StoreClock, seen_within: datetime.timedelta) -> None:
        self._store = store
        self._time = time
        self._seen_within = seen_within
        self._served: Collection[str] = ()
        self._lanes: dict[str, Lane] = {}
        self._in_flight: Mapping[str, int] = {}
        self._accepting = True
        self._changes = _Changes()
        self._listener: Callable[[Lane], None] = lambda _: None

    def listen(self, listener: Callable[[Lane], None]) -> None:
        """Call the listener with each lane that is closed, whoever closed it, at every look.

        Once would not do: what was on its way to an executor when the lane closed is there by the next look.
        """
        self._listener = listener

    @property
    def is_accepting(self) -> bool:
        """Whether submissions are taken."""
        return self._accepting

    @property
    def breakers_closed(self) -> bool:
        """Whether every lane's breaker is closed."""
        return all(lane.breaker.is_closed for lane in self._lanes.values())

    @property
    def bounds_flight(self) -> bool:
        """Whether some lane bounds how many attempts run at once."""
        return any(lane.limits.max_in_flight is not None for lane in self._lanes.values())

    def lane(self, name: str) -> Lane:
        """Return a lane; one that nobody knows has no limits."""
        return self._lanes.get(name) or Lane(name=name)

    def surroundings(self, name: str) -> Surroundings:
        """Return what a job of the lane waits among."""
        return Surroundings(served=self._served, lane=self.lane(name), in_flight=self._in_flight.get(name, 0))

    def put(self, lane: Lane) -> None:
        """This scheduler changed a lane."""
        self._lanes[lane.name] = self._changes.lanes[lane.name] = lane
        self._tell_if_closed(lane)

    def serve(self, lanes: Collection[str]) -> None:
        """An executor of these lanes, or provider/* patterns, has connected here."""
        self._served = {*self._served, *lanes}

    def set_accepting(self, *, accepting: bool) -> None:
        """This scheduler opened or closed the door."""
        self._accepting = self._changes.accepting = accepting

    async def refresh(self) -> None:
        """Look again. Raises StoreUnavailable."""
        changes = self._changes = _Changes()
        self._served = await self._store.served_lanes(self._seen_within)
        accepting = await self._store.is_accepting()
        lanes = {lane.name: lane for lane in await self._store.lanes()}
        bounded = [name for name, lane in lanes.items() if lane.limits.max_in_flight is not None]
        self._in_flight = await self._store.in_flight(bounded) if bounded else {}
        self._accepting = accepting if changes.accepting is None else changes.accepting
        self._lanes = lanes | changes.lanes
        for lane in self._lanes.values():
            self._tell_if_closed(lane)

    def _tell_if_closed(self, lane: Lane) -> None:
        if lane.closure(self._time.now()) is not None:
            self._listener(lane)
