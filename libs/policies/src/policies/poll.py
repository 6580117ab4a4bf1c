"""How often to look for work that no wake-up announced: the push path's net."""

EMPTY_SECONDS = 5.0
NORMAL_SECONDS = 2.0
BUSY_SECONDS = 0.5
BUSY_ABOVE = 5


def interval_seconds(waiting: int) -> float:
    """Return the time to the next poll: 5 s when nothing waits, 0.5 s when more than 5 jobs wait, else 2 s."""
    if waiting == 0:
        return EMPTY_SECONDS
    return BUSY_SECONDS if waiting > BUSY_ABOVE else NORMAL_SECONDS
