"""Deals waiting jobs to free slots: on every wake-up, when a time has come, and by a poll as the net below.

Credit is counted before a claim, so no executor ever gets more than it can take. One loop does it: claims in parallel
are slower than one that takes hundreds at a time.
"""

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Sequence

from policies import poll
from runtime import logs
from runtime.clock import Clock
from scheduler.assign import Assigner
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Fleet
from scheduler.ports import ClaimStore, StoreClock
from scheduler.records import ClaimedJob, Head, Slots
from scheduler.signals import Signals
from scheduler.watch import WatchHub

MAX_CLAIM = 500
_RETRY_SECONDS = 1.0
_LONGEST_REST = datetime.timedelta(seconds=0.25)
_LAST_RANK = 3

_log = logs.get_logger(__name__)


class Dispatcher:
    """The only claimer of this process."""

    def __init__(
        self,
        *,
        store: ClaimStore,
        time: StoreClock,
        clock: Clock,
        fleet: Fleet,
        assigner: Assigner,
        hub: WatchHub,
        signals: Signals,
        aging: datetime.timedelta | None = None,
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._fleet = fleet
        self._assigner = assigner
        self._hub = hub
        self._signals = signals
        self._aging = aging
        self._wake = asyncio.Event()
        self._poll_seconds = poll.NORMAL_SECONDS
        self._polled_at = clock.monotonic()
        self._next_due: datetime.datetime | None = None
        self._owes_thorough = False
        # Until when, by the monotonic clock, nothing of a lane is handed out.
        self._rest_until: dict[str, float] = {}

    def rest(self, lane: str, most: datetime.timedelta | None) -> None:
        """Hand nothing of a lane out for a moment, in which the store hears that it is closed; at most for this long."""
        rest = _LONGEST_REST if most is None else min(most, _LONGEST_REST)
        self._rest_until[lane] = self._clock.monotonic() + rest.total_seconds()
        self.expect_due(self._time.now() + rest)

    def wake(self) -> None:
        """Something changed: a job, a slot, a lane."""
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            polled = await self._wait()
            try:
                is_due = self._is_due()
                if polled or is_due:
                    await self._promote()
                if is_due:
                    # The others do not know that time, and theirs may be the executors that are idle.
                    self._signals.announce()
                if polled and self._aging is not None:
                    await self._store.raise_old(self._aging)
                # A thorough look is owed until there is credit: without any, a deal looks nowhere.
                self._owes_thorough = self._owes_thorough or polled
                if self._fleet.has_credit:
                    thorough, self._owes_thorough = self._owes_thorough, False
                    await self._deal(thorough=thorough)
                if polled:
                    self._poll_seconds = poll.interval_seconds(await self._store.count_waiting(poll.BUSY_ABOVE + 1))
                    _log.debug("polled", next_poll_seconds=self._poll_seconds)
            except StoreUnavailable as error:
                _log.warning("dispatch_waits_for_database", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
                # What was woken for is not done.
                self.wake()

    async def _promote(self) -> None:
        """Let the jobs move on whose time has come."""
        # Due times that are told meanwhile must not be forgotten.
        known, self._next_due = self._next_due, None
        try:
            due = await self._store.promote_due()
            expired, next_expiry = await self._store.expire_due()
        except StoreUnavailable:
            if known is not None:
                self._note_due(known)
            raise
        for job_id in expired:
            self._hub.job_changed(job_id)
        for time in (due, next_expiry):
            if time is not None:
                self._note_due(time)

    def expect_due(self, due: datetime.datetime) -> None:
        """A job will be due then."""
        if self._note_due(due):
            self.wake()

    def _note_due(self, due: datetime.datetime) -> bool:
        """Return whether it is the earliest known."""
        if self._next_due is not None and self._next_due <= due:
            return False
        self._next_due = due
        return True

    async def _wait(self) -> bool:
        """Wait for a wake-up, the next due time or the poll; return whether the poll is due, however often it woke."""
        next_poll = self._polled_at + self._poll_seconds
        seconds = next_poll - self._clock.monotonic()
        if self._next_due is not None:
            seconds = min(seconds, (self._next_due - self._time.now()).total_seconds())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        if self._clock.monotonic() < next_poll:
            return False
        self._polled_at = self._clock.monotonic()
        return True

    def _is_due(self) -> bool:
        return self._next_due is not None and self._next_due <= self._time.now()

    async def _deal(self, *, thorough: bool) -> None:
        # Lanes that gave less than they seemed to have: what is left there is not for now.
        exhausted: set[str] = set()
        while self._fleet.has_credit:
            waiting = await self._store.lane_heads(thorough=thorough)
            if waiting.next_time is not None:
                self._note_due(waiting.next_time)
            heads = [head for head in waiting.heads if head.lane not in exhausted and self._can_take(head.lane)]
            if not heads:
                return
            claimed, wanted = await self._claim(heads, thorough=thorough)
            await self._assigner.send(claimed)
            if len(claimed) < wanted and (len(heads) == 1 or not claimed):
                exhausted.add(heads[0].lane)

    def _can_take(self, lane: str) -> bool:
        return self._clock.monotonic() >= self._rest_until.get(lane, 0.0) and self._fleet.can_take(lane)

    async def _claim(self, heads: Sequence[Head], *, thorough: bool) -> tuple[Sequence[ClaimedJob], int]:
        """Claim from the lane with the best head, as many as stand there among the best of all lanes."""
        limit = MAX_CLAIM
        if len(heads) > 1:
            best = min(self._fleet.free_slots, MAX_CLAIM)
            shares = await self._store.shares([head.lane for head in heads], best)
            limit = shares.get(heads[0].lane, 1)
        slots = self._fleet.reserve(heads[0].lane, limit)
        try:
            claimed = await self._store.claim(heads[0].lane, slots, max_rank=_LAST_RANK, thorough=thorough)
        except BaseException:
            # If the claim took effect all the same, nobody knows its jobs; a new hello brings them back.
            self._fleet.close(slots, "A claim for this executor failed; say hello again.")
            raise
        self._fleet.unreserve(_unused(slots, claimed))
        return claimed, sum(slot.count for slot in slots)


def _unused(slots: Sequence[Slots], claimed: Sequence[ClaimedJob]) -> list[Slots]:
    used: defaultdict[str, int] = defaultdict(int)
    for job in claimed:
        used[job.executor_id] += 1
    return [Slots(slot.executor_id, slot.session, slot.count - used[slot.executor_id]) for slot in slots]
