"""Deals waiting jobs to free slots: on every wake-up, when a retry is due, and by a poll as the net below.

Credit is counted before a claim, so no executor ever gets more than it can take. One loop does it: claims in parallel
are slower than one that takes hundreds at a time.
"""

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence

from policies import poll
from runtime import logs
from runtime.clock import Clock
from runtime.tracing import Attributes, Tracing
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Assignment, Fleet
from scheduler.image_cache import INLINE_BYTES, ImageCache
from scheduler.jobs import Stage
from scheduler.ports import AttemptId, ClaimedJob, ClaimStore, Head, Slots, StoreClock
from scheduler.watch import WatchHub

MAX_CLAIM = 500
_RETRY_SECONDS = 1.0
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
        images: ImageCache,
        hub: WatchHub,
        tracing: Tracing,
        give_back: Callable[[Collection[AttemptId]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._fleet = fleet
        self._images = images
        self._hub = hub
        self._tracing = tracing
        self._give_back = give_back
        self._wake = asyncio.Event()
        self._poll_seconds = poll.NORMAL_SECONDS
        self._polled_at = clock.monotonic()
        self._next_due: datetime.datetime | None = None

    def wake(self) -> None:
        """Something changed: a job, a slot, a lane."""
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            polled = await self._wait()
            try:
                if polled or self._is_due():
                    # Due times that are told meanwhile must not be forgotten.
                    self._next_due = None
                    due = await self._store.promote_due()
                    if due is not None:
                        self._note_due(due)
                await self._deal(thorough=polled)
                if polled:
                    self._poll_seconds = poll.interval_seconds(await self._store.count_waiting(poll.BUSY_ABOVE + 1))
                    _log.debug("polled", next_poll_seconds=self._poll_seconds)
            except StoreUnavailable as error:
                _log.warning("dispatch_waits_for_database", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

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
        while self._fleet.has_credit:
            heads = [
                head for head in await self._store.lane_heads(thorough=thorough) if self._fleet.can_take(head.lane)
            ]
            if not heads:
                return
            claimed, wanted = await self._claim(heads, thorough=thorough)
            await self._send(claimed)
            if len(heads) == 1 and len(claimed) < wanted:
                return

    async def _claim(self, heads: Sequence[Head], *, thorough: bool) -> tuple[Sequence[ClaimedJob], int]:
        """Claim from the lane with the best head, no worse ranks than the next lane's head has."""
        slots = self._fleet.reserve(heads[0].lane, MAX_CLAIM)
        max_rank = heads[1].rank if len(heads) > 1 else _LAST_RANK
        try:
            claimed = await self._store.claim(heads[0].lane, slots, max_rank=max_rank, thorough=thorough)
        except BaseException:
            # If the claim took effect all the same, nobody knows its jobs; a new hello brings them back.
            self._fleet.close(slots, "A claim for this executor failed; say hello again.")
            raise
        self._fleet.unreserve(_unused(slots, claimed))
        return claimed, sum(slot.count for slot in slots)

    async def _send(self, claimed: Sequence[ClaimedJob]) -> None:
        if not claimed:
            return
        images = await self._small_images(claimed)
        now = self._time.now()
        stranded: list[AttemptId] = []
        for job in claimed:
            session = self._fleet.get(job.executor_id, job.session)
            if session is None:
                # The stream broke meanwhile.
                stranded.append(job.attempt_id)
                continue
            assignment = Assignment(
                job=job,
                images={
                    image.sha256: images[job.client_id, image.sha256]
                    for image in job.spec.images
                    if (job.client_id, image.sha256) in images
                },
                traceparent=self._trace(job, now),
            )
            session.outbox.put(assignment)
            self._hub.stage_entered(job.attempt_id, Stage.STARTING, job.start_time)
        if stranded:
            await self._give_back(stranded)

    async def _small_images(self, claimed: Sequence[ClaimedJob]) -> dict[tuple[str, str], bytes]:
        found: dict[tuple[str, str], bytes] = {}
        missing: defaultdict[str, set[str]] = defaultdict(set)
        for job in claimed:
            for image in job.spec.images:
                if image.size > INLINE_BYTES:
                    continue
                data = self._images.get(job.client_id, image.sha256)
                if data is None:
                    missing[job.client_id].add(image.sha256)
                else:
                    found[job.client_id, image.sha256] = data
        for client_id, hashes in missing.items():
            try:
                stored = await self._store.get_images(client_id, hashes)
            except StoreUnavailable:
                # The jobs are claimed: they go out all the same, and the executor fetches the image itself.
                continue
            for sha256, data in stored.items():
                found[client_id, sha256] = data
                self._images.put(client_id, sha256, data)
        return found

    def _trace(self, job: ClaimedJob, now: datetime.datetime) -> str:
        """Record the wait and the dispatch, and return the context for the executor."""
        if not self._tracing.recording:
            return job.traceparent
        attributes: Attributes = {
            "visionjobs.job.id": job.attempt_id.job_id,
            "visionjobs.job.attempt": job.attempt_id.attempt,
            "visionjobs.job.lane": job.lane,
            "visionjobs.executor.id": job.executor_id,
        }
        self._tracing.record(
            "queue wait", job.traceparent, start=job.queued_time, end=job.start_time, attributes=attributes
        )
        return self._tracing.record(
            "dispatch", job.traceparent, start=job.start_time, end=max(now, job.start_time), attributes=attributes
        )


def _unused(slots: Sequence[Slots], claimed: Sequence[ClaimedJob]) -> list[Slots]:
    used: defaultdict[str, int] = defaultdict(int)
    for job in claimed:
        used[job.executor_id] += 1
    return [Slots(slot.executor_id, slot.session, slot.count - used[slot.executor_id]) for slot in slots]
