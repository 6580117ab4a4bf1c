"""Keeps a stream to some scheduler, for ever: dials, says hello, takes work, and dials again when the stream is over.

What runs goes on meanwhile. Every hello names what is held, so a broken stream, another scheduler and a lost message
are the same case.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

from executor.attempts import Attempts
from executor.call_gate import CallGate
from executor.heartbeats import Heartbeats
from executor.outbox import Outbox
from executor.ports import Dialer, Downlink, Hello, Link, LinkBroken, LinkRefused, Uplink, Welcome
from executor.report import Reporter
from executor.slots import Closed, Slots
from runtime import logs
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import task_group

WELCOME_SECONDS = 2.0
_REDIAL_BASE_SECONDS = 0.05
_REDIAL_CAP_SECONDS = 0.5
_REFUSED_CAP_SECONDS = 10.0
_TURNS = 1_000_000

_log = logs.get_logger(__name__)


class ConnectionListener(Protocol):
    """Hears whether this executor has a scheduler."""

    async def __call__(self, *, connected: bool) -> None: ...


class LaneOffer(Protocol):
    """Knows what this executor serves."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """What it serves now."""
        ...

    async def moved_from(self, lanes: tuple[str, ...]) -> None:
        """Wait until schedulers have to be told of others than these."""
        ...


class _LanesMoved(LinkBroken):
    """The stream was ended from here: only a hello tells of lanes."""


class Receiver:
    """The use case. One stream at a time."""

    def __init__(
        self,
        *,
        dialer: Dialer,
        hello: Hello,
        lanes: LaneOffer,
        attempts: Attempts,
        gate: CallGate,
        reporter: Reporter,
        outbox: Outbox,
        slots: Slots,
        clock: Clock,
        randomness: Randomness,
        on_connected: ConnectionListener,
    ) -> None:
        self._dialer = dialer
        self._hello = hello
        self._lanes = lanes
        self._attempts = attempts
        self._gate = gate
        self._reporter = reporter
        self._outbox = outbox
        self._slots = slots
        self._clock = clock
        self._randomness = randomness
        self._on_connected = on_connected
        # Dials in a row that led to no welcome.
        self._failures = 0
        # Why dials since the last welcome were refused, and whether the last one was.
        self._refusals: set[str] = set()
        self._refused = False
        # All of them; tells schedulers which of two hellos is the later one.
        self._dials = 0

    async def run(self) -> None:
        """Receive until cancelled."""
        # Executors that start together spread over the schedulers.
        turn = int(self._randomness.draw() * _TURNS)
        while True:
            try:
                async with self._dialer.dial(turn) as link:
                    hello_sent_at = self._clock.monotonic()
                    lanes = self._lanes.lanes
                    welcome = await self._greet(link, lanes)
                    self._begin(welcome, hello_sent_at)
                    await self._work(link, welcome, lanes)
            except _LanesMoved:
                _log.info("lanes_changed", lanes=self._lanes.lanes)
                continue
            except LinkBroken as broken:
                self._note_broken(broken)
            turn += 1
            pause = redial_seconds(self._failures, draw=self._randomness.draw(), refused=self._refused)
            await self._clock.sleep(pause)

    async def _greet(self, link: Link, lanes: tuple[str, ...]) -> Welcome:
        self._dials += 1
        hello = replace(self._hello, lanes=lanes, held=list(self._attempts.held), dial=self._dials)
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                await link.send(Uplink(hello=hello))
                first = await link.receive()
        except TimeoutError:
            raise LinkBroken(f"{link.address} did not welcome within {WELCOME_SECONDS:g} s.") from None
        if first.welcome is None:
            raise LinkBroken(f"{link.address} answered without a welcome.")
        _log.info("scheduler_connected", address=link.address, session=first.welcome.session)
        self._failures = 0
        self._refusals.clear()
        return first.welcome

    def _begin(self, welcome: Welcome, hello_sent_at: float) -> None:
        self._slots.reopen(Closed.DRAINING)
        self._outbox.open()
        self._attempts.cancel(welcome.superseded, "The job was given to another executor meanwhile.")
        # Only now, because it lets calls begin: not those of attempts that others have got meanwhile.
        self._gate.fit_lease(welcome.lost_after.total_seconds())
        self._gate.renew_lease(hello_sent_at)
        self._attempts.tell_stages()
        self._reporter.report_again()

    async def _work(self, link: Link, welcome: Welcome, lanes: tuple[str, ...]) -> None:
        heartbeats = Heartbeats(
            interval_seconds=welcome.heartbeat_interval.total_seconds(),
            lost_seconds=welcome.lost_after.total_seconds(),
            held=lambda: self._attempts.held,
            outbox=self._outbox,
            clock=self._clock,
        )
        await self._on_connected(connected=True)
        try:
            async with task_group(LinkBroken) as tasks:
                tasks.create_task(self._send(link))
                tasks.create_task(self._receive(link, heartbeats))
                tasks.create_task(heartbeats.run())
                tasks.create_task(self._leave_when_lanes_move(lanes))
        finally:
            self._outbox.close()
            await self._on_connected(connected=False)

    async def _leave_when_lanes_move(self, lanes: tuple[str, ...]) -> None:
        await self._lanes.moved_from(lanes)
        raise _LanesMoved("Other lanes are served from now on.")

    async def _send(self, link: Link) -> None:
        while True:
            await link.send(await self._outbox.take())
            self._outbox.sent()

    async def _receive(self, link: Link, heartbeats: Heartbeats) -> None:
        while True:
            self._handle(await link.receive(), heartbeats)

    def _handle(self, message: Downlink, heartbeats: Heartbeats) -> None:
        if message.assignments:
            for assignment in message.assignments:
                self._attempts.start(assignment)
            self._outbox.received(len(message.assignments))
        self._attempts.permit(message.permits)
        if message.acknowledged:
            self._reporter.acknowledge(message.acknowledged)
        self._attempts.cancel(message.cancels, "The job was cancelled.")
        self._attempts.withdraw(message.withdraws)
        if message.echoed is not None:
            self._note_echo(message.echoed, heartbeats)
        if message.drain is not None:
            _log.info("draining", reason=message.drain)
            self._slots.close(Closed.DRAINING)

    def _note_echo(self, number: int, heartbeats: Heartbeats) -> None:
        sent_at = heartbeats.echoed(number)
        if sent_at is not None:
            self._gate.renew_lease(sent_at)

    def _note_broken(self, broken: LinkBroken) -> None:
        self._failures += 1
        self._refused = isinstance(broken, LinkRefused)
        # The first failure of a row is news, the thousandth is not.
        if isinstance(broken, LinkRefused) and broken.reason not in self._refusals:
            self._refusals.add(broken.reason)
            _log.error("scheduler_refused", reason=broken.reason, detail=str(broken))
        elif self._failures == 1:
            _log.warning("scheduler_away", reason=str(broken))
        else:
            _log.debug("scheduler_still_away", reason=str(broken), failures=self._failures)


def redial_seconds(failures: int, *, draw: float, refused: bool = False) -> float:
    """Return the pause before a dial: up to `min(50 ms · 2^failures, 0.5 s)`, at least half of it.

    Args:
        failures: Dials in a row that failed.
        draw: A random number in [0, 1).
        refused: The last one was not let in, which people must mend: up to 10 s instead.
    """
    cap = _REFUSED_CAP_SECONDS if refused else _REDIAL_CAP_SECONDS
    ceiling = min(_REDIAL_BASE_SECONDS * 2.0 ** min(failures, 16), cap)
    return ceiling * (0.5 + 0.5 * draw)
