"""Bugs that are planted on purpose: what the simulation is worth is what it catches."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from executor.lease import Lease
from policies import retry
from scheduler.jobs import JobState
from scheduler.memory_row import JobRow


@dataclass(frozen=True, slots=True)
class Bug:
    """A function that is replaced by one that lacks something; one of so many histories on the brink shows it."""

    owner: type | ModuleType
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


_sound_advance = JobRow.advance


def _waits_for_the_same_step_again(row: JobRow, advance: Any, now: Any) -> bool:
    advanced = _sound_advance(row, advance, now)
    if advanced:
        row.job = replace(row.job, step=1)
    return advanced


def _may_always_pay(**known: Any) -> bool:
    del known
    return True


BUGS = {
    "no fence": Bug(JobRow, "runs", _runs_whatever_attempt, caught_within=20),
    "no self-lease": Bug(Lease, "holds", _always_holds, caught_within=300),
    "rescue without compare-and-set": Bug(JobRow, "give_back", _gives_back_in_any_session, caught_within=200),
    "a step that is done again": Bug(JobRow, "advance", _waits_for_the_same_step_again, caught_within=5),
    "no cap on paid calls": Bug(retry, "may_pay_again", _may_always_pay, caught_within=20),
}
