"""Bugs that are planted on purpose: what the simulation is worth is what it catches."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from executor.lease import Lease
from scheduler.jobs import JobState
from scheduler.memory_row import JobRow


@dataclass(frozen=True, slots=True)
class Bug:
    """A method that is replaced by one that lacks something; one of so many histories on the brink shows it."""

    owner: type
    method: str
    planted: Callable[..., Any]
    caught_within: int

    @contextlib.contextmanager
    def plant(self) -> Iterator[None]:
        """Have the bug while the block runs."""
        sound = getattr(self.owner, self.method)
        setattr(self.owner, self.method, self.planted)
        try:
            yield
        finally:
            setattr(self.owner, self.method, sound)


def _runs_whatever_attempt(row: JobRow, attempt: object, session: int | None = None) -> bool:
    del attempt, session
    return row.job.state is JobState.RUNNING


def _always_holds(lease: Lease, now: float) -> bool:
    del lease, now
    return True


_sound_give_back = JobRow.give_back


def _gives_back_in_any_session(row: JobRow, back: Any, now: Any) -> bool:
    return _sound_give_back(row, replace(back, session=None), now)


BUGS = {
    "no fence": Bug(JobRow, "runs", _runs_whatever_attempt, caught_within=20),
    "no self-lease": Bug(Lease, "holds", _always_holds, caught_within=200),
    "rescue without compare-and-set": Bug(JobRow, "give_back", _gives_back_in_any_session, caught_within=125),
}
