"""Words between schedulers: something changed, look for yourselves."""

from typing import Protocol


class Signals(Protocol):
    """Reaches the other schedulers of the same database, as good as it can: a poll is the net below."""

    def announce(self) -> None:
        """Tell the others that there is something to look at; many calls may become one word."""
        ...
