"""What a seed makes of a history."""

import random
from dataclasses import dataclass

from sim_provider import Mood

BOTH = ("gemini/*", "deepseek/*")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed makes of a history.

    Attributes:
        served: What the executors serve, one after the other, and again from the first.
        preparing_seconds: How long an image may take to be read.
        paid_cap: Calls of a step that may be paid for; 0 means as many as the retries allow.
    """

    executors: int
    capacity: int
    jobs: int
    requests_per_minute: int
    deaf: bool
    mood: Mood
    faults: int
    kill_steps: tuple[int, ...]
    slow_statements: float
    fault_kinds: tuple[str, ...]
    served: tuple[tuple[str, ...], ...] = (BOTH,)
    preparing_seconds: float = 0.01
    paid_cap: int = 0


FAULTS = (
    "kill",
    "kill",
    "kill",
    "freeze",
    "freeze",
    "silence",
    "reset",
    "outage",
    "stop",
    "stop",
    "isolate",
    "isolate",
)


def plan_of(draws: random.Random) -> Plan:
    """Draw a plan: many are calm in some respect, so that what they do provoke is not drowned."""
    return _on_the_brink(draws) if _draws_the_brink(draws) else _mixed(draws)


def is_on_the_brink(seed: int) -> bool:
    """Return whether executors are cut off for about as long as schedulers are patient, again and again."""
    return _draws_the_brink(random.Random(seed))


def _draws_the_brink(draws: random.Random) -> bool:
    return draws.random() < 0.25


def _on_the_brink(draws: random.Random) -> Plan:
    return Plan(
        executors=draws.randint(2, 4),
        capacity=draws.randint(1, 3),
        jobs=draws.randint(20, 50),
        requests_per_minute=0,
        deaf=False,
        mood=Mood(failing=0.3, breaking=draws.choice([0.0, 0.2]), truncated=draws.choice([0.0, 0.2]), max_latency=19.0),
        faults=draws.randint(10, 25),
        kill_steps=(),
        slow_statements=draws.choice([0.01, 0.3, 0.3]),
        fault_kinds=("isolate", "isolate", "freeze", "freeze"),
        preparing_seconds=draws.choice([0.01, 0.5, 4.0]),
        paid_cap=draws.choice([0, 0, 2]),
    )


def _mixed(draws: random.Random) -> Plan:
    troubled = draws.random() < 0.7
    mood = Mood(
        failing=draws.choice([0.0, 0.1, 0.4]),
        breaking=draws.choice([0.0, 0.05]),
        invalid=draws.choice([0.0, 0.05]),
        truncated=draws.choice([0.0, 0.0, 0.1]),
        empty=draws.choice([0.0, 0.0, 0.1]),
        throttling=draws.choice([0.0, 0.0, 0.05]),
        hanging=draws.choice([0.0, 0.0, 0.03]),
        refusing=draws.choice([0.0, 0.05]),
        max_latency=draws.choice([0.5, 3.0, 19.0]),
    )
    return Plan(
        executors=draws.randint(1, 4),
        capacity=draws.randint(1, 4),
        jobs=draws.randint(5, 40),
        requests_per_minute=draws.choice([0, 0, 0, 30, 120]),
        deaf=draws.random() < 0.2,
        mood=mood if draws.random() < 0.6 else Mood(max_latency=mood.max_latency),
        faults=draws.randint(1, 14) if troubled else 0,
        kill_steps=tuple(draws.randint(300, 4_000) for _ in range(draws.randint(0, 3))),
        slow_statements=draws.choice([0.0, 0.0, 0.01, 0.3]),
        fault_kinds=FAULTS,
        served=draws.choice([(BOTH,), (BOTH,), (BOTH, ("gemini/*",)), (BOTH, ("deepseek/*",), ("gemini/*",))]),
        preparing_seconds=draws.choice([0.01, 0.01, 0.5]),
        paid_cap=draws.choice([0, 0, 0, 2]),
    )
