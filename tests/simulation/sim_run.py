"""Runs histories by their seeds."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from sim_checks import check
from sim_world import Broken, World


@dataclass(frozen=True, slots=True)
class Ended:
    """A history, and the promise that was broken in it, if one was."""

    seed: int
    broken: str | None
    history: tuple[str, ...]


def live(seed: int) -> Ended:
    """Live one history; the same seed is the same history."""
    world = World(seed)
    broken = None
    with _logs_in(world):
        try:
            world.run()
            check(world)
        except Broken as failure:
            broken = str(failure)
    return Ended(seed, broken, tuple(world.history))


@contextlib.contextmanager
def _logs_in(world: World) -> Iterator[None]:
    """Let what the services log become a part of the history."""

    def keep(_: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        words = " ".join(f"{name}={value}" for name, value in event.items() if name not in ("event", "exc_info"))
        world.note(f"{method}: {event['event']} {words}")
        if event.get("exc_info"):
            world.broken.append(f"{event['event']}: {event['exc_info']!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
