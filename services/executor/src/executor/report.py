"""Reports outcomes: on the spool first, then to the scheduler, again after every redial, until they are acknowledged."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from executor.ports import Link, OutcomeReport, Spool
from executor.work import AttemptId, Outcome
from runtime import logs
from runtime.clock import Clock

MAX_BATCH = 500
MAX_PENDING = 10_000
_RETRY_SECONDS = 1.0

_log = logs.get_logger(__name__)


class Reporter:
    """Owns every outcome from the end of its attempt to its acknowledgement."""

    def __init__(
        self, *, spool: Spool, clock: Clock, encode: Callable[[Outcome], bytes], on_change: Callable[[], None]
    ) -> None:
        """Prepare.

        Args:
            spool: Where outcomes wait.
            clock: For the pause after a failed write.
            encode: Makes an outcome's record.
            on_change: Called when `can_take_more` may have changed.
        """
        self._spool = spool
        self._clock = clock
        self._encode = encode
        self._on_change = on_change
        self._link: Link | None = None
        self._fresh: list[Outcome] = []
        self._acknowledged: list[AttemptId] = []
        self._wake = asyncio.Event()
        self._pending: dict[AttemptId, bytes] = {}
        self._writable = True
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def held(self) -> Collection[AttemptId]:
        """The attempts whose outcome nobody has acknowledged."""
        return [*self._pending, *(outcome.attempt_id for outcome in self._fresh)]

    @property
    def can_take_more(self) -> bool:
        """Whether new attempts may begin: their outcomes could be kept."""
        return self._writable and len(self._pending) + len(self._fresh) < MAX_PENDING

    def add(self, outcome: Outcome) -> None:
        """Take an outcome; it is reported after it is on disk."""
        self._fresh.append(outcome)
        self._settled.clear()
        self._wake.set()

    def connected(self, link: Link) -> None:
        """Report over this link from now on, first everything that is not acknowledged."""
        self._link = link
        link.send(*(OutcomeReport(payload) for payload in self._pending.values()))

    def disconnected(self) -> None:
        self._link = None

    def acknowledged(self, attempts: Sequence[AttemptId]) -> None:
        """Forget outcomes: the scheduler has stored them, or needs them no more."""
        full = not self.can_take_more
        for attempt in attempts:
            if self._pending.pop(attempt, None) is not None:
                self._acknowledged.append(attempt)
        if not self._pending and not self._fresh:
            self._settled.set()
        if full:
            self._on_change()
        self._wake.set()

    async def settled(self) -> None:
        """Wait until nothing is unacknowledged."""
        await self._settled.wait()

    async def run(self) -> None:
        """Adopt what dead executors left, then keep the spool until cancelled."""
        await self._keep_trying(self._adopt)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._fresh or self._acknowledged:
                await self._keep_trying(self._write_batch)

    async def _adopt(self) -> None:
        for attempt, payload in await self._spool.adopt():
            _log.info("outcome_adopted", job_id=attempt.job_id, attempt=attempt.attempt)
            self._pending[attempt] = payload
            self._settled.clear()
            if self._link is not None:
                self._link.send(OutcomeReport(payload))

    async def _write_batch(self) -> None:
        batch = self._fresh[:MAX_BATCH]
        if batch:
            records = [(outcome.attempt_id, self._encode(outcome)) for outcome in batch]
            await self._spool.append(records)
            del self._fresh[: len(batch)]
            self._pending.update(records)
            if self._link is not None:
                self._link.send(*(OutcomeReport(payload) for _, payload in records))
        acknowledged, self._acknowledged = self._acknowledged, []
        if acknowledged:
            await self._spool.acknowledge(acknowledged)

    async def _keep_trying(self, step: Callable[[], object]) -> None:
        while True:
            try:
                await step()  # type: ignore[misc]
            except OSError as error:
                _log.error("spool_not_writable", error=str(error))
                self._writable = False
                self._on_change()
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                break
        if not self._writable:
            _log.info("spool_writable_again")
            self._writable = True
            self._on_change()
