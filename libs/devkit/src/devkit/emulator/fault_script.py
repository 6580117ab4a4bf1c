"""The script of faults: which call is hit by what. What a fault then does to the call is elsewhere."""

import dataclasses
import random
from dataclasses import dataclass

from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.faults import Fault, FaultTarget

_TOLD_AS_NULL = frozenset({"count", "retry_seconds", "seconds"})


@dataclass(slots=True)
class _Line:
    fault: Fault
    hits: int = 0

    @property
    def is_over(self) -> bool:
        return self.fault.count is not None and self.hits >= self.fault.count


class FaultScript:
    """The faults to come. Of those that fit a call the first line hits it; the seed decides what is left to chance."""

    def __init__(self, *, seed: int = 0) -> None:
        self._lines: list[_Line] = []
        self._random = random.Random(f"faults {seed}")

    def add(self, fault: Fault) -> None:
        self._lines.append(_Line(fault))

    def clear(self) -> None:
        self._lines.clear()

    def end(self, kind: FaultKind) -> None:
        """Take out every line of a kind."""
        self._lines = [line for line in self._lines if line.fault.kind is not kind]

    def draw(self, target: FaultTarget, *, was_held: bool = False) -> Fault | None:
        """Return what hits the next call; no call is held twice."""
        for line in self._lines:
            if line.is_over or not line.fault.aims_at(target):
                continue
            if was_held and line.fault.kind is FaultKind.HOLD:
                continue
            if line.fault.rate == 1 or self._random.random() < line.fault.rate:
                line.hits += 1
                return line.fault
        return None

    def as_json(self) -> dict[str, object]:
        """Return the lines in their order, each with the number of calls that it hit."""
        return {"faults": [_fields(line.fault) | {"hits": line.hits} for line in self._lines]}


def _fields(fault: Fault) -> dict[str, object]:
    told = dataclasses.asdict(fault)
    return {name: value for name, value in told.items() if value is not None or name in _TOLD_AS_NULL}
