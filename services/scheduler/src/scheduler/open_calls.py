"""How many calls each client has open on this scheduler, and how many it may."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

from scheduler.errors import TooManyCalls


class OpenCalls:
    """Counts calls by client and kind; `limits` says how many of a kind are allowed."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._open: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """Return of how many clients and kinds there are calls open: what this takes of memory."""
        return len(self._open)

    @contextlib.contextmanager
    def counted(self, client_id: str, kind: str) -> Iterator[None]:
        """Count a call while the block runs. Raises TooManyCalls if there are as many as allowed."""
        place = (client_id, kind)
        if self._open[place] >= self._limits[kind]:
            raise TooManyCalls(kind, self._limits[kind])
        self._open[place] += 1
        try:
            yield
        finally:
            self._open[place] -= 1
            if not self._open[place]:
                del self._open[place]
