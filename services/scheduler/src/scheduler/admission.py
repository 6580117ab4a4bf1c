"""Lets submissions in, or sheds them before they slow running work. See policies.shedding.

A submission holds the event loop while it is checked and stored, one of a thousand jobs for a fifth of a second, and a
request of 32 MiB takes a few times its size. So few are worked on at a time, of large batches fewer still (see
Submit); bench/overload.py shows what that does for running work. Those that find no place wait a moment, unread, so that
a burst of small ones passes; who waits for longer is shed. An upload costs nothing but memory until it is complete, and
may take a minute: it has a place of its own kind.
"""

import asyncio
import contextlib
import datetime
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator

from policies.shedding import Load, Measures, Reason, strain, why_shed
from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness
from scheduler.errors import Overloaded

MAX_SIZE = 256 * 1024 * 1024
"""Bytes of requests that are worked on, above which no other is let in."""

MAX_WAITING = 500
WAIT_SECONDS = 0.5
MAX_UPLOADS = 64

_PERIOD_SECONDS = 0.1
# One long step is no overload: of the last looks the best counts.
_LOOKS = 3
_RETRY_SECONDS = 1.0

_BOUNDS = Load(waiting=MAX_WAITING, size=MAX_SIZE)

_log = logs.get_logger(__name__)


class Arrival:
    """One submission that was let in; whoever reads its request says how large it is."""

    def __init__(self) -> None:
        self.size = 0

    def read(self, size: int) -> None:
        """So many bytes of its request have come."""
        self.size += size


class Admission:
    """A `place` for each submission, before its request is read; `run` measures how the scheduler does."""

    def __init__(
        self, *, clock: Clock, randomness: Randomness, outcomes_share: Callable[[], float], max_submissions: int
    ) -> None:
        self._clock = clock
        self._randomness = randomness
        self._outcomes_share = outcomes_share
        self._places = asyncio.Semaphore(max_submissions)
        self._shares = _Shares(max(1, max_submissions // 2))
        self._upload_places = asyncio.Semaphore(MAX_UPLOADS)
        self._waiting = 0
        self._inside: set[Arrival] = set()
        self._lateness: deque[float] = deque([0.0], maxlen=_LOOKS)
        self._strain: Reason | None = None

    @contextlib.asynccontextmanager
    async def place(self, arrival: Arrival, *, is_upload: bool, client_id: str | None = None) -> AsyncIterator[None]:
        """Let a submission in while the block runs; one without a client has no share. Raises Overloaded."""
        self._check()
        async with self._turn(client_id, self._upload_places if is_upload else self._places):
            # Others may have grown meanwhile.
            self._check()
            self._inside.add(arrival)
            try:
                yield
            finally:
                self._inside.discard(arrival)

    def _check(self) -> None:
        load = Load(waiting=self._waiting, size=sum(arrival.size for arrival in self._inside))
        reason = why_shed(load, _BOUNDS, self._strain)
        if reason is not None:
            raise Overloaded(reason, self._retry_after())

    @contextlib.asynccontextmanager
    async def _turn(self, client_id: str | None, places: asyncio.Semaphore) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as held:
            self._waiting += 1
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    if client_id is not None:
                        await held.enter_async_context(held.enter_context(self._shares.of(client_id)))
                    await held.enter_async_context(places)
            except TimeoutError:
                raise Overloaded(Reason.SUBMISSIONS, self._retry_after()) from None
            finally:
                self._waiting -= 1
            yield

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock.monotonic()
            await self._clock.sleep(_PERIOD_SECONDS)
            self._lateness.append(self._clock.monotonic() - began - _PERIOD_SECONDS)
            self._judge()

    def _judge(self) -> None:
        measures = Measures(late_seconds=min(self._lateness), outcomes_share=self._outcomes_share())
        found = strain(measures, self._strain)
        if found is not self._strain:
            _log.warning(
                "shedding_submissions" if found else "taking_submissions_again",
                reason=found,
                late_seconds=round(measures.late_seconds, 3),
                outcomes_share=round(measures.outcomes_share, 3),
            )
        self._strain = found

    def _retry_after(self) -> datetime.timedelta:
        """Spread those who come again: half to one and a half of the usual time."""
        return datetime.timedelta(seconds=_RETRY_SECONDS * (0.5 + self._randomness.draw()))


class _Shares:
    """The places of each client: half of all, so that one that sends slowly leaves room for the others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._places: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @contextlib.contextmanager
    def of(self, client_id: str) -> Iterator[asyncio.Semaphore]:
        """Yield a client's places. They are forgotten when nobody holds or wants one."""
        self._users[client_id] += 1
        try:
            yield self._places.setdefault(client_id, asyncio.Semaphore(self._size))
        finally:
            self._users[client_id] -= 1
            if not self._users[client_id]:
                del self._users[client_id], self._places[client_id]
