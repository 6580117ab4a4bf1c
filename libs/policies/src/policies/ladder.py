"""The ladder of a useless answer: how often each flaw is met with another call, and what the next call asks otherwise.

| flaw of the last answer | further calls | the next call |
|---|---|---|
| TRUNCATED | 1 | twice the output tokens where they are limited, and one thinking level lower |
| LOOPING | 2 | a higher temperature |
| RECITATION, NOT_JSON, SCHEMA_MISMATCH | 2 | another temperature |
| EMPTY, UNFINISHED | 2 | as it was asked |
| NO_TEXT | 3 | as it was asked |

The ladder is climbed inside the retry budget of the job and never beyond it. Thinking is paid out of the output tokens,
so less of it leaves more for the answer; and it is at temperature 0 that models fall into a loop.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

MAX_OUTPUT_TOKENS = 65_536
"""The most that a model gives."""

MAX_TEMPERATURE = 2.0
DEFAULT_TEMPERATURE = 1.0
"""What the models take where none is asked for."""

_STEP = 0.2
_LOOP_STEP = 0.4
_THINKING_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_LEVEL_FOR_UNSET = "LOW"


class Flaw(enum.StrEnum):
    """What is wrong with an answer that came, and was paid for."""

    TRUNCATED = "TRUNCATED"
    LOOPING = "LOOPING"
    EMPTY = "EMPTY"
    NO_TEXT = "NO_TEXT"
    NOT_JSON = "NOT_JSON"
    SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
    RECITATION = "RECITATION"
    UNFINISHED = "UNFINISHED"


MOST_RETRIES: Mapping[Flaw, int] = MappingProxyType(
    {
        Flaw.TRUNCATED: 1,
        Flaw.LOOPING: 2,
        Flaw.EMPTY: 2,
        Flaw.NO_TEXT: 3,
        Flaw.NOT_JSON: 2,
        Flaw.SCHEMA_MISMATCH: 2,
        Flaw.RECITATION: 2,
        Flaw.UNFINISHED: 2,
    }
)
"""How often a flaw of each kind is followed by another call for the same step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the ladder may change; None and "" leave the model's default. A temperature is from 0 to 2."""

    temperature: float | None
    max_output_tokens: int | None
    thinking_level: str


def may_try_again(flaws: Sequence[str]) -> bool:
    """Say whether the ladder goes on after these flaws of a step, the newest last. Unknown ones are no bar."""
    if not flaws or flaws[-1] not in MOST_RETRIES:
        return True
    return flaws.count(flaws[-1]) <= MOST_RETRIES[Flaw(flaws[-1])]


def adjusted(options: Options, flaws: Sequence[str]) -> Options:
    """Return what the next call asks for, after these flaws of the step's calls so far; unknown ones are ignored.

    Args:
        options: As the caller of the job asked.
        flaws: In any order.
    """
    truncated = flaws.count(Flaw.TRUNCATED)
    loops = flaws.count(Flaw.LOOPING)
    others = sum(flaws.count(flaw) for flaw in (Flaw.RECITATION, Flaw.NOT_JSON, Flaw.SCHEMA_MISMATCH))
    if truncated:
        options = replace(
            options,
            max_output_tokens=_more(options.max_output_tokens, truncated),
            thinking_level=_lower(options.thinking_level, truncated),
        )
    if loops or others:
        options = replace(options, temperature=_other(options.temperature, loops, others))
    return options


def _more(tokens: int | None, doublings: int) -> int | None:
    if tokens is None or tokens >= MAX_OUTPUT_TOKENS:
        return tokens
    # 2^16 times anything is beyond the limit.
    return min(tokens << min(doublings, 16), MAX_OUTPUT_TOKENS)


def _lower(level: str, levels: int) -> str:
    if not level:
        return _lower(_LEVEL_FOR_UNSET, levels - 1)
    if level not in _THINKING_LEVELS:
        return level
    return _THINKING_LEVELS[max(0, _THINKING_LEVELS.index(level) - levels)]


def _other(asked: float | None, loops: int, others: int) -> float:
    """Return a temperature that was not asked for and is above 0: higher, or lower where there is no room above."""
    temperature = DEFAULT_TEMPERATURE if asked is None else asked
    change = _STEP * (loops + others)
    if temperature > MAX_TEMPERATURE - _STEP:
        return round(max(DEFAULT_TEMPERATURE, temperature - change), 2)
    return round(min(MAX_TEMPERATURE, max(temperature + change, _LOOP_STEP * loops)), 2)
