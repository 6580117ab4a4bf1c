"""Dials schedulers for ever, takes assignments, and lets attempts run on while a stream is broken."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from executor.execute import Attempt, Attempts
from executor.ports import (
    Accepted,
    Assigned,
    Cancels,
    Credit,
    Dialer,
    Downlink,
    Drain,
    Echo,
    Heartbeat,
    Hello,
    Link,
    LinkBroken,
    OutcomeAcks,
    Progress,
    Welcome,
)
from executor.report import Reporter
from executor.work import Assignment, AttemptId, Stage
from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness

WELCOME_SECONDS = 5.0
ECHO_SECONDS = 4.0
"""A heartbeat that was not echoed by then means that the scheduler, or its database, is gone: dial the next."""

MAX_REDIAL_SECONDS = 2.0
_FLUSH_SECONDS = 10.0
_KEY_PAUSE_SECONDS = 60.0
_LIST_EVERY = 3

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this executor is; the id is random per boot."""

    executor_id: str
    host: str
    version: str
    capacity: int
    lanes: Sequence[str]


class ConnectionListener(Protocol):
    """Hears whether this executor has a scheduler."""

    async def __call__(self, *, connected: bool) -> None: ...


class Receiver:
    """The use case: `run` until cancelled, `stop` before."""

    def __init__(
        self,
        *,
        identity: Identity,
        addresses: Sequence[str],
        dialer: Dialer,
        attempts: Attempts,
        reporter: Reporter,
        clock: Clock,
        randomness: Randomness,
        on_connected: ConnectionListener,
    ) -> None:
        self._identity = identity
        self._addresses: Iterator[str] = itertools.cycle(addresses)
        self._dialer = dialer
        self._attempts = attempts
        self._reporter = reporter
        self._clock = clock
        self._randomness = randomness
        self._on_connected = on_connected
        self._link: Link | None = None
        self._running: dict[AttemptId, Attempt] = {}
        self._received = 0
        self._draining = False
        self._key_refused = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Work for whichever scheduler answers."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                address = next(self._addresses)
                try:
                    await self._session(address, tasks)
                except LinkBroken as broken:
                    _log.warning("scheduler_lost", address=address, reason=str(broken))
                await self._clock.sleep(MAX_REDIAL_SECONDS / 4 * (1 + self._randomness.draw()))

    async def stop(self, grace_seconds: float) -> None:
        """Take no more work, release what was not called, finish what was, and report it."""
        self._draining = True
        self.send_credit()
        for attempt in list(self._running.values()):
            if not attempt.call_begun:
                attempt.stop("The executor is stopping.")
        await self._wait_for(self._idle, grace_seconds)
        for attempt in list(self._running.values()):
            attempt.stop("The executor stopped before the call ended.")
        await self._wait_for(self._idle, _FLUSH_SECONDS)
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._reporter.settled()
        except TimeoutError:
            _log.warning("outcomes_stay_on_spool", outcomes=len(self._reporter.held))

    def send_credit(self) -> None:
        """Tell the scheduler how many slots are free."""
        if self._link is not None:
            self._link.send(Credit(self._free_slots, self._received))

    def report_stage(self, attempt: AttemptId, stage: Stage) -> None:
        """Tell the scheduler what an attempt is doing."""
        if self._link is not None:
            self._link.send(Progress(attempt, stage))

    @property
    def _free_slots(self) -> int:
        if self._draining or self._key_refused or not self._reporter.can_take_more:
            return 0
        return max(0, self._identity.capacity - len(self._running))

    @property
    def _held(self) -> Collection[AttemptId]:
        return [*self._running, *self._reporter.held]

    async def _session(self, address: str, attempts: asyncio.TaskGroup) -> None:
        """Work on one stream until it breaks. Raises LinkBroken."""
        async with self._dialer.dial(address) as link:
            self._received = 0
            link.send(
                Hello(
                    executor_id=self._identity.executor_id,
                    host=self._identity.host,
                    version=self._identity.version,
                    capacity=self._identity.capacity,
                    lanes=self._identity.lanes,
                    held=self._held,
                )
            )
            messages = aiter(link.receive())
            welcome = await self._welcomed(messages, address)
            heartbeats = _Heartbeats(self._clock)
            self._link = link
            self.send_credit()
            self._reporter.connected(link)
            await self._on_connected(connected=True)
            try:
                async with asyncio.TaskGroup() as session:
                    session.create_task(heartbeats.run(link, welcome.heartbeat_seconds, lambda: self._held))
                    async for items in messages:
                        for item in items:
                            self._handle(item, heartbeats, attempts)
                    raise LinkBroken("The scheduler ended the stream.")
            except* LinkBroken as group:
                raise LinkBroken(str(group.exceptions[0])) from None
            finally:
                self._link = None
                self._reporter.disconnected()
                await self._on_connected(connected=False)

    async def _welcomed(self, messages: AsyncIterator[Sequence[Downlink]], address: str) -> Welcome:
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                first: Sequence[Downlink] = await anext(messages, ())
        except TimeoutError:
            raise LinkBroken("The scheduler did not welcome this executor.") from None
        if not first or not isinstance(first[0], Welcome):
            raise LinkBroken("The scheduler did not begin with a welcome.")
        welcome = first[0]
        _log.info("scheduler_connected", address=address, session=welcome.session)
        self._stop_attempts(welcome.superseded, "The attempt was given to another executor.")
        for item in first[1:]:
            # Nothing else is due before the credit; whatever it is, it must not be lost.
            raise LinkBroken(f"The scheduler sent {type(item).__name__} with the welcome.")
        return welcome

    def _handle(self, item: Downlink, heartbeats: "_Heartbeats", attempts: asyncio.TaskGroup) -> None:
        match item:
            case Assigned(assignment=assignment):
                self._begin(assignment, attempts)
            case OutcomeAcks(attempts=acknowledged):
                self._reporter.acknowledged(acknowledged)
            case Cancels(attempts=cancelled):
                self._stop_attempts(cancelled, "The job was cancelled.")
            case Echo(number=number):
                heartbeats.echoed(number)
            case Drain(reason=reason):
                _log.info("draining", reason=reason)
                self._draining = True
                self.send_credit()
            case Welcome():
                raise LinkBroken("The scheduler welcomed twice.")
            case _:
                assert_never(item)

    def _begin(self, assignment: Assignment, attempts: asyncio.TaskGroup) -> None:
        self._received += 1
        attempt_id = assignment.attempt_id
        if self._link is not None:
            self._link.send(Accepted(attempt_id))
        attempt = self._attempts.begin(assignment)
        self._running[attempt_id] = attempt
        self._idle.clear()
        if self._draining:
            attempt.stop("The executor is stopping.")
        attempts.create_task(self._attempt(attempt_id, attempt))

    async def _attempt(self, attempt_id: AttemptId, attempt: Attempt) -> None:
        try:
            outcome = await attempt.run()
            self._reporter.add(outcome)
        finally:
            del self._running[attempt_id]
            if not self._running:
                self._idle.set()
        if attempt.refuses_key and not self._key_refused:
            await self._pause_for_key(str(outcome.verdict))
        self.send_credit()

    async def _pause_for_key(self, message: str) -> None:
        """Take no work for a while: a refused key is this executor's condition, and no job may be spent on it."""
        _log.error("key_refused", message=message, pause_seconds=_KEY_PAUSE_SECONDS)
        self._key_refused = True
        self.send_credit()
        await self._clock.sleep(_KEY_PAUSE_SECONDS)
        self._key_refused = False

    def _stop_attempts(self, attempt_ids: Collection[AttemptId], reason: str) -> None:
        for attempt_id in attempt_ids:
            attempt = self._running.get(attempt_id)
            if attempt is not None:
                attempt.stop(reason)

    async def _wait_for(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass


class _Heartbeats:
    """Sends numbered heartbeats on one stream, and ends it when one is not echoed in time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: dict[int, float] = {}

    def echoed(self, number: int) -> None:
        self._sent = {sent: time for sent, time in self._sent.items() if sent > number}

    async def run(self, link: Link, interval_seconds: float, held: Callable[[], Collection[AttemptId]]) -> None:
        """Raises LinkBroken."""
        for number in itertools.count(1):
            self._sent[number] = self._clock.monotonic()
            link.send(Heartbeat(number, held() if number % _LIST_EVERY == 0 else None))
            next_beat = self._clock.monotonic() + interval_seconds
            while (now := self._clock.monotonic()) < next_beat:
                oldest = min(self._sent.values(), default=now)
                if now - oldest >= ECHO_SECONDS:
                    raise LinkBroken("A heartbeat was not echoed in time.")
                wait = min(next_beat, oldest + ECHO_SECONDS) - now if self._sent else next_beat - now
                await self._clock.sleep(wait)
