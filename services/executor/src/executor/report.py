"""Keeps every outcome on the spool before it is reported, and until it is acknowledged.

While one batch is written the next one gathers: an idle executor waits for nothing, a busy one writes hundreds at a
time. What is not acknowledged is sent again on every new stream. A spool that cannot be written stops new work; what
is already paid for is then reported from memory, because to withhold it could only lose it.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from executor.outbox import Outbox
from executor.ports import OutcomeCodec, Spool, SpoolUnwritable
from executor.slots import Closed, Slots
from executor.work import AttemptId, Outcome
from runtime import logs
from runtime.clock import Clock

MAX_UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024
CHECK_SECONDS = 2.0

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    attempt_id: AttemptId
    record: bytes
    kept: asyncio.Future[None]


class Reporter:
    """The only writer of the spool."""

    def __init__(
        self,
        *,
        spool: Spool,
        codec: OutcomeCodec,
        outbox: Outbox,
        slots: Slots,
        clock: Clock,
        max_unacknowledged_bytes: int = MAX_UNACKNOWLEDGED_BYTES,
    ) -> None:
        self._spool = spool
        self._codec = codec
        self._outbox = outbox
        self._slots = slots
        self._clock = clock
        self._max_unacknowledged_bytes = max_unacknowledged_bytes
        self._gathered: list[_Entry] = []
        self._unacknowledged: dict[AttemptId, bytes] = {}
        self._unacknowledged_bytes = 0
        # Acknowledged, but still on the spool.
        self._acknowledged: set[AttemptId] = set()
        # Reported, but not on the spool, because it could not be written.
        self._unspooled: set[AttemptId] = set()
        self._wake = asyncio.Event()
        self._nothing_left = asyncio.Event()
        self._nothing_left.set()
        self._unwritable = asyncio.Event()
        # Until the spool has been opened there is none.
        slots.close(Closed.SPOOL_UNWRITABLE)

    @property
    def unacknowledged(self) -> Collection[AttemptId]:
        return self._unacknowledged.keys()

    async def report(self, outcome: Outcome) -> None:
        """Take an outcome; returns when it is on the spool and on its way."""
        kept = asyncio.get_running_loop().create_future()
        self._gathered.append(_Entry(outcome.attempt_id, self._codec.encode(outcome), kept))
        self._nothing_left.clear()
        self._wake.set()
        await kept

    def report_again(self) -> None:
        """Send everything that is not acknowledged, on a new stream."""
        self._outbox.report(self._unacknowledged.items())

    def acknowledge(self, attempt_ids: Iterable[AttemptId]) -> None:
        """Let go of outcomes that are stored, or that nobody needs any more."""
        for attempt_id in attempt_ids:
            record = self._unacknowledged.pop(attempt_id, None)
            if record is not None:
                self._unacknowledged_bytes -= len(record)
                self._acknowledged.add(attempt_id)
        self._note_backlog()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until every outcome is acknowledged, and has left the spool."""
        await self._nothing_left.wait()

    async def run(self) -> None:
        """Write until cancelled. Before that, adopt what dead executors left behind."""
        await self._open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._check_while_unwritable())
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write()

    async def _open(self) -> None:
        while True:
            try:
                adopted = await self._spool.open()
            except SpoolUnwritable as error:
                self._note_unwritable(error)
                await self._clock.sleep(CHECK_SECONDS)
            else:
                break
        self._note_writable()
        if adopted:
            _log.info("outcomes_adopted", outcomes=len(adopted))
            records = [(self._codec.attempt_id(record), record) for record in adopted]
            self._hold(records)
            self._outbox.report(records)

    async def _write(self) -> None:
        gathered, self._gathered = self._gathered, []
        acknowledged, self._acknowledged = self._acknowledged, set()
        try:
            await self._keep(gathered, acknowledged)
        except SpoolUnwritable as error:
            self._acknowledged |= acknowledged
            self._unspooled.update(entry.attempt_id for entry in gathered)
            self._note_unwritable(error)
        else:
            self._unspooled.clear()
            self._note_writable()
        records = [(entry.attempt_id, entry.record) for entry in gathered]
        self._hold(records)
        self._outbox.report(records)
        for entry in gathered:
            if not entry.kept.done():
                entry.kept.set_result(None)
        if not self._gathered and not self._unacknowledged:
            self._nothing_left.set()

    async def _keep(self, gathered: Sequence[_Entry], acknowledged: Collection[AttemptId]) -> None:
        if self._unwritable.is_set():
            await self._spool.check()
        late = [(each, self._unacknowledged[each]) for each in self._unspooled if each in self._unacknowledged]
        fresh = [(entry.attempt_id, entry.record) for entry in gathered]
        await self._spool.write(late + fresh, forget=acknowledged)

    def _hold(self, records: Iterable[tuple[AttemptId, bytes]]) -> None:
        for attempt_id, record in records:
            self._unacknowledged_bytes += len(record) - len(self._unacknowledged.get(attempt_id, b""))
            self._unacknowledged[attempt_id] = record
            self._nothing_left.clear()
        self._note_backlog()

    async def _check_while_unwritable(self) -> None:
        while True:
            await self._unwritable.wait()
            await self._clock.sleep(CHECK_SECONDS)
            self._wake.set()

    def _note_unwritable(self, error: SpoolUnwritable) -> None:
        if not self._unwritable.is_set():
            _log.error("spool_unwritable", error=str(error), effect="no new work is taken")
            self._unwritable.set()
            self._slots.close(Closed.SPOOL_UNWRITABLE)

    def _note_writable(self) -> None:
        if self._unwritable.is_set():
            _log.info("spool_writable")
            self._unwritable.clear()
        self._slots.reopen(Closed.SPOOL_UNWRITABLE)

    def _note_backlog(self) -> None:
        if self._unacknowledged_bytes > self._max_unacknowledged_bytes:
            self._slots.close(Closed.OUTCOMES_PILE_UP)
        else:
            self._slots.reopen(Closed.OUTCOMES_PILE_UP)
