"""How much more work this executor takes."""

import enum
from collections.abc import Callable


class Closed(enum.Enum):
    """Why no work is taken at all."""

    DRAINING = enum.auto()
    STOPPING = enum.auto()
    SPOOL_UNWRITABLE = enum.auto()
    OUTCOMES_PILE_UP = enum.auto()


class Slots:
    """Counts the slots in use. Everybody who holds work back says so here, and `free` knows what that leaves."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._limit = capacity
        self._used = 0
        self._closed: set[Closed] = set()
        self._listener: Callable[[], None] = lambda: None

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever `free` may have changed."""
        self._listener = listener

    @property
    def free(self) -> int:
        return 0 if self._closed else max(0, self._limit - self._used)

    @property
    def used(self) -> int:
        return self._used

    def use(self) -> None:
        """One slot is taken."""
        self._used += 1
        self._listener()

    def release(self) -> None:
        """One slot is free again."""
        self._used -= 1
        self._listener()

    def limit(self, count: int | None) -> None:
        """Use at most this many from now on; None is the capacity."""
        self._limit = self._capacity if count is None else count
        self._listener()

    def close(self, why: Closed) -> None:
        self._closed.add(why)
        self._listener()

    def reopen(self, why: Closed) -> None:
        """This reason has gone; another may still hold."""
        self._closed.discard(why)
        self._listener()
