"""How fast a client may submit: a virtual queue that is worked off at the client's rate (GCRA).

All there is to remember is when the submissions so far are worked off. A second's worth may be ahead of its time: a call
that finds some of that second left is let through whole, however many jobs it brings, and later ones wait. So over any w
seconds no more than (w + 1 s) * rate are let through, and one call's count.
"""

import datetime

BURST = datetime.timedelta(seconds=1)
SLOWEST_PER_SECOND = 0.001
"""A job in a quarter of an hour: with less, a batch would be worked off in no time that means anything."""


def wait(worked_off: datetime.datetime, *, now: datetime.datetime) -> datetime.timedelta:
    """Return how long a submission has to wait; zero or less lets it through now."""
    return worked_off - BURST - now


def after(worked_off: datetime.datetime, count: int, *, per_second: float, now: datetime.datetime) -> datetime.datetime:
    """Return when everything is worked off after `count` jobs were let through."""
    return max(worked_off, now) + cost(count, per_second=per_second)


def cost(count: int, *, per_second: float) -> datetime.timedelta:
    """Return how long it takes to work `count` jobs off."""
    return datetime.timedelta(seconds=count / per_second)
