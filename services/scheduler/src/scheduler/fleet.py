"""The executors that are connected to this scheduler: their credit, and what is on its way to them."""

import asyncio
import datetime
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from policies.quota import Ask
from scheduler.jobs import JobSpec, Stage
from scheduler.outcomes import Outcome
from scheduler.records import AttemptId, ClaimedJob, ExecutorInfo, Slots
from scheduler.waiting import serves


@dataclass(frozen=True, slots=True)
class Credit:
    """Free slots of an executor, and how many assignments it had received on this stream when it said so."""

    free_slots: int
    assignments_received: int


@dataclass(frozen=True, slots=True)
class Progress:
    """An attempt enters a stage."""

    attempt_id: AttemptId
    stage: Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life; `held` is None unless this one lists what the executor holds."""

    number: int
    held: Collection[AttemptId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """One message of an executor, its fields in the order in which they are handled; every one may be empty."""

    credit: Credit | None = None
    accepted: Sequence[AttemptId] = ()
    ready: Sequence[AttemptId] = ()
    progress: Sequence[Progress] = ()
    outcomes: Sequence[Outcome] = ()
    withdrawn: Sequence[AttemptId] = ()
    heartbeat: Heartbeat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The executor is known; `superseded` attempts were given to others meanwhile."""

    session: int
    heartbeat_interval: datetime.timedelta
    lost_after: datetime.timedelta
    superseded: Sequence[AttemptId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A step of a claimed job on its way.

    Attributes:
        spec: What is to be done in this step, and how this attempt asks for it.
        steps: How many the job has.
        input_json: What the step before gave; "" in the first.
        images: The small ones by hash.
        start_within: It expires unless it starts within this time.
    """

    job: ClaimedJob
    spec: JobSpec
    steps: int = 1
    input_json: str = ""
    images: dict[str, bytes]
    traceparent: str
    start_within: datetime.timedelta | None


@dataclass(frozen=True, slots=True)
class OutcomeAck:
    """The outcome of the attempt is stored."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class HeartbeatEcho:
    """The heartbeat of this number is stored."""

    number: int


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one paid call, that must begin within this time of receipt."""

    attempt_id: AttemptId
    validity: datetime.timedelta


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the attempt, also in the middle of its call."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Give the attempt back, if its call has not begun."""

    attempt_id: AttemptId


Downlink = Welcome | Assignment | OutcomeAck | HeartbeatEcho | Permit | Stop | Withdraw


@dataclass(slots=True)
class Held:
    """An attempt that was given to an executor on this stream, or that it brought along.

    Attributes:
        lane: Its lane.
        order: (rank, seq).
        ask: What its call is expected to use.
        sent: When its assignment was sent, in monotonic seconds.
        accepted: The executor has it.
        withdrawn: It was wished back.
    """

    lane: str
    order: tuple[int, int]
    ask: Ask
    sent: float
    accepted: bool = False
    withdrawn: bool = False


MAX_UNSENT = 100_000
"""Messages that wait for an executor: more than one that reads can cause."""

MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""Of images that wait for an executor; above it no more work is sent."""


class Outbox:
    """What one stream has to send, and what it is just sending."""

    def __init__(self) -> None:
        self._items: list[Downlink] = []
        self._bytes = 0
        self._bytes_in_hand = 0
        self._wake = asyncio.Event()
        self._closed: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether the executor has to read before it gets more work."""
        return self._bytes + self._bytes_in_hand > MAX_UNSENT_BYTES

    def put(self, *items: Downlink) -> None:
        """Send these, unless the stream ends anyway. It does when too much waits to be sent."""
        if self._closed is not None:
            return
        self._items.extend(items)
        self._bytes += sum(_image_bytes(item) for item in items)
        if len(self._items) > MAX_UNSENT:
            self._items.clear()
            self.close("The executor does not read what it is sent.")
        self._wake.set()

    def close(self, reason: str) -> None:
        """End the stream after what is in the box; `reason` is for people."""
        self._closed = self._closed or reason
        self._wake.set()

    @property
    def closed_because(self) -> str | None:
        return self._closed

    async def take(self) -> list[Downlink]:
        """Return all that is in the box, waiting for the first item; nothing means that it is closed."""
        self._bytes_in_hand = 0
        while not self._items and self._closed is None:
            self._wake.clear()
            await self._wake.wait()
        items, self._items = self._items, []
        self._bytes_in_hand, self._bytes = self._bytes, 0
        return items


def _image_bytes(item: Downlink) -> int:
    return sum(len(data) for data in item.images.values()) if isinstance(item, Assignment) else 0


class Session:
    """One executor's stream on this scheduler."""

    def __init__(self, *, info: ExecutorInfo, number: int) -> None:
        self.info = info
        self.number = number
        self.outbox = Outbox()
        self.held: dict[AttemptId, Held] = {}
        # Attempts that were missing in the executor's last list of what it holds.
        self.missing: Collection[AttemptId] = ()
        self._credit = Credit(0, 0)
        # Assignments sent or about to be: written by the dispatcher alone.
        self._assigned = 0

    @property
    def free_slots(self) -> int:
        """The credit, less what the executor had not received when it sent it. Never negative."""
        if self.outbox.is_full:
            return 0
        on_the_way = self._assigned - self._credit.assignments_received
        return max(0, self._credit.free_slots - on_the_way)

    def acknowledge(self, attempts: Sequence[AttemptId]) -> None:
        """Tell the executor that the outcomes of these attempts are stored."""
        self.outbox.put(*(OutcomeAck(attempt) for attempt in attempts))

    def accept(self, attempts: Iterable[AttemptId]) -> None:
        """The executor has these assignments."""
        for attempt in attempts:
            if held := self.held.get(attempt):
                held.accepted = True

    def unaccepted(self, sent_before: float) -> list[AttemptId]:
        """Return the assignments sent before this moment that the executor has not accepted yet."""
        return [
            attempt
            for attempt, held in self.held.items()
            if not (held.accepted or held.withdrawn) and held.sent < sent_before
        ]

    def withdraw(self, attempts: Iterable[AttemptId]) -> None:
        """Wish attempts back; they are the executor's until it has said so."""
        for attempt in attempts:
            if held := self.held.get(attempt):
                held.withdrawn = True
                self.outbox.put(Withdraw(attempt))

    def drop(self, attempts: Iterable[AttemptId]) -> None:
        """The executor has let go of these."""
        for attempt in attempts:
            self.held.pop(attempt, None)

    def located(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the outcomes with the lanes of those that are held here."""
        return [
            replace(outcome, lane=held.lane) if (held := self.held.get(outcome.attempt_id)) else outcome
            for outcome in outcomes
        ]

    def set_credit(self, credit: Credit) -> None:
        self._credit = credit

    def reserve(self, count: int) -> None:
        """Count assignments before they are claimed; `unreserve` those that were not."""
        self._assigned += count

    def unreserve(self, count: int) -> None:
        self._assigned -= count


class Fleet:
    """The connected sessions."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._closed_because = ""

    def add(self, session: Session) -> None:
        """Take a session in; an older one of the same executor is closed."""
        older = self._sessions.get(session.info.executor_id)
        if older is not None:
            older.outbox.close("The executor dialled again.")
        self._sessions[session.info.executor_id] = session
        if self._closed_because:
            # Its hello was under way when all streams were ended.
            session.outbox.close(self._closed_because)

    def remove(self, session: Session) -> None:
        if self._sessions.get(session.info.executor_id) is session:
            del self._sessions[session.info.executor_id]

    def get(self, executor_id: str, number: int) -> Session | None:
        session = self._sessions.get(executor_id)
        return session if session is not None and session.number == number else None

    @property
    def sessions(self) -> Collection[Session]:
        return self._sessions.values()

    def close_all(self, reason: str) -> None:
        """End all streams, also those that are about to begin."""
        self._closed_because = reason
        for session in self._sessions.values():
            session.outbox.close(reason)

    def close(self, slots: Sequence[Slots], reason: str) -> None:
        """End the streams that these slots belong to."""
        for slot in slots:
            session = self.get(slot.executor_id, slot.session)
            if session is not None:
                session.outbox.close(reason)
                self.remove(session)

    def can_take(self, lane: str) -> bool:
        return any(session.free_slots and serves(session.info.lanes, lane) for session in self._sessions.values())

    @property
    def free_slots(self) -> int:
        return sum(session.free_slots for session in self._sessions.values())

    @property
    def has_credit(self) -> bool:
        return self.free_slots > 0

    def reserve(self, lane: str, limit: int) -> list[Slots]:
        """Take the free slots for a lane, evenly, at most `limit`, and count them as used."""
        free = {
            executor_id: session.free_slots
            for executor_id, session in self._sessions.items()
            if session.free_slots and serves(session.info.lanes, lane)
        }
        slots = []
        for executor_id, count in _share(free, limit).items():
            session = self._sessions[executor_id]
            session.reserve(count)
            slots.append(Slots(executor_id, session.number, count))
        return slots

    def unreserve(self, slots: Sequence[Slots]) -> None:
        for slot in slots:
            session = self.get(slot.executor_id, slot.session)
            if session is not None:
                session.unreserve(slot.count)


def _share(free: dict[str, int], limit: int) -> dict[str, int]:
    """Deal up to `limit` slots as evenly as the free ones allow; the emptiest hands come last."""
    shares: dict[str, int] = {}
    remaining = limit
    for index, (executor_id, count) in enumerate(sorted(free.items(), key=lambda item: item[1])):
        fair = -(-remaining // (len(free) - index))
        shares[executor_id] = min(count, fair)
        remaining -= shares[executor_id]
    return {executor_id: count for executor_id, count in shares.items() if count}
