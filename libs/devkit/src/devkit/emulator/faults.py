"""Scripted faults: which call is hit by what. What a fault then does to the call is `disruptions`."""

import dataclasses
import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class FaultKind(enum.StrEnum):
    """What can go wrong.

    At once, unbilled: the 429s, 402, 404, `hang`, `reset-before`. After the call's time, unbilled: 500, 503, 504,
    `html`. Billed: `empty`, `not-json`, `blocked`, `max-tokens` and `wrong-schema` answer, `truncated` breaks off in the
    middle, `reset-after` before it. `slow` and `hold` only take time.
    """

    MINUTE_QUOTA = "429"
    DAY_QUOTA = "429-day"
    BARE_QUOTA = "429-bare"
    BILLING = "429-billing"
    PAYMENT_REQUIRED = "402"
    RETIRED = "404"
    INTERNAL = "500"
    UNAVAILABLE = "503"
    DEADLINE = "504"
    HANG = "hang"
    SLOW = "slow"
    HOLD = "hold"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    HTML = "html"
    NOT_JSON = "not-json"
    BLOCKED = "blocked"
    MAX_TOKENS = "max-tokens"
    WRONG_SCHEMA = "wrong-schema"


DEFAULT_RETRY_SECONDS = 30.0
DEFAULT_SLOW_SECONDS = 10.0

_TIMES = {FaultKind.MINUTE_QUOTA: "retry_seconds", FaultKind.DAY_QUOTA: "retry_seconds", FaultKind.SLOW: "seconds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the script.

    Attributes:
        kind: What happens.
        count: How many calls are hit; None hits for ever.
        rate: The part of the calls that is hit.
        model: Only its calls are hit; "" hits all.
        retry_seconds: What the 429s name as RetryInfo.
        seconds: How much longer a slow call takes.
    """

    kind: FaultKind
    count: int | None = None
    rate: float = 1.0
    model: str = ""
    retry_seconds: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError("count must be at least 1")
        if not 0 < self.rate <= 1:
            raise ValueError("rate must be over 0 and at most 1")
        for name in ("retry_seconds", "seconds"):
            value = getattr(self, name)
            if value is not None and _TIMES.get(self.kind) != name:
                raise ValueError(f"{name} says nothing of the kind {self.kind}")
            if value is not None and not 0 <= value <= 86_400:
                raise ValueError(f"{name} must be between 0 and 86400")


_FIELD_TYPES: Mapping[str, tuple[type, ...]] = {
    "count": (int,),
    "rate": (int, float),
    "model": (str,),
    "retry_seconds": (int, float),
    "seconds": (int, float),
}


def read_fault(document: object) -> Fault:
    """Return the fault that a JSON document describes.

    Raises:
        ValueError: It describes none; the message says why.
    """
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError("a fault is an object with a kind")
    fields: dict[str, Any] = dict(document)
    kind = _kind(fields.pop("kind"))
    if unknown := sorted(fields.keys() - _FIELD_TYPES.keys()):
        raise ValueError(f"a fault has no {unknown[0]}")
    wrong = [name for name, value in fields.items() if type(value) not in _FIELD_TYPES[name]]
    if wrong:
        raise ValueError(f"{wrong[0]} is of the wrong type")
    return Fault(kind=kind, **fields)


def read_fault_option(text: str) -> Fault:
    """Return the fault of a `KIND=RATE`.

    Raises:
        ValueError: It is none; the message says why.
    """
    kind, _, rate = text.partition("=")
    try:
        number = float(rate)
    except ValueError:
        raise ValueError(f"{text} is not of the form KIND=RATE, as 503=0.1") from None
    return Fault(kind=_kind(kind), rate=number)


def _kind(value: object) -> FaultKind:
    try:
        return FaultKind(str(value))
    except ValueError:
        raise ValueError(f"{value} is no kind of fault; there are {', '.join(FaultKind)}") from None


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

    def draw(self, model: str, *, was_held: bool = False) -> Fault | None:
        """Return what hits the next call of a model; no call is held twice."""
        for line in self._lines:
            if line.is_over or line.fault.model not in ("", model):
                continue
            if was_held and line.fault.kind is FaultKind.HOLD:
                continue
            if line.fault.rate == 1 or self._random.random() < line.fault.rate:
                line.hits += 1
                return line.fault
        return None

    def as_json(self) -> dict[str, object]:
        """Return the lines in their order, each with the number of calls that it hit."""
        return {"faults": [dataclasses.asdict(line.fault) | {"hits": line.hits} for line in self._lines]}
