"""Whether the lanes of a new job could ever take it."""

import datetime

from policies.quota import Ask, Limits
from scheduler.board import Board
from scheduler.errors import BreakerOpen, Violation
from scheduler.estimates import ask_of
from scheduler.jobs import JobSpec
from scheduler.steps import spec_of_attempt

_PROBE_TIME = datetime.timedelta(seconds=1)


def check_lanes(spec: JobSpec, path: str, board: Board, *, now: datetime.datetime) -> list[Violation]:
    """Return what of a spec is more than one of its lanes ever takes.

    Args:
        spec: It is valid otherwise.
        path: Where it stands in the request.
        board: Knows the lanes.
        now: The store's time.

    Raises:
        BreakerOpen: It asked to fail fast, and one of its providers does not answer.
    """
    violations = []
    for step, name in enumerate(spec.lanes, 1):
        lane = board.lane(name)
        if spec.fail_fast and not lane.breaker.is_closed:
            until = lane.breaker.open_until
            raise BreakerOpen(lane.name, max(until - now, _PROBE_TIME) if until else _PROBE_TIME)
        # What the first step will give to the second one nobody knows yet.
        ask = ask_of(spec_of_attempt(spec, step=step, rank=spec.priority, flaws=()), day=now.date())
        violations += _beyond(lane.limits, ask, path if step == 1 else f"{path}.post_process")
    return violations


def _beyond(limits: Limits, ask: Ask, path: str) -> list[Violation]:
    if limits.input_tokens_per_minute is not None and ask.tokens > limits.input_tokens_per_minute:
        return [Violation(path, f"takes about {ask.tokens} input tokens, more than its lane allows in a minute")]
    if limits.dollars_per_10_minutes is not None and ask.dollars > limits.dollars_per_10_minutes:
        message = f"costs about {ask.dollars:.4f} US dollars, more than its lane allows in ten minutes"
        return [Violation(path, message)]
    return []
