"""The scheduler's side of an executor's stream: hello, credit, permits, progress, outcomes, heartbeats."""

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from runtime import logs
from runtime.clock import Clock
from scheduler.board import Board
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.errors import StoreUnavailable
from scheduler.estimates import UNKNOWN
from scheduler.fleet import Credit, Fleet, Heartbeat, HeartbeatEcho, Held, Session, Stop, Uplink, Welcome
from scheduler.lanes import Lane
from scheduler.outcomes import Throttled
from scheduler.permits import Permits
from scheduler.ports import ExecutorStore, StoreClock
from scheduler.records import AttemptId, ExecutorInfo
from scheduler.stages import StageWriter
from scheduler.watch import WatchHub

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSettings:
    """How executors show that they live."""

    heartbeat_interval: datetime.timedelta = datetime.timedelta(seconds=3)
    lost_after: datetime.timedelta = datetime.timedelta(seconds=10)
    accept_within: datetime.timedelta = datetime.timedelta(seconds=2)


class Work:
    """The use case: `open` a session, `handle` its messages, `close` it."""

    def __init__(
        self,
        *,
        store: ExecutorStore,
        time: StoreClock,
        clock: Clock,
        fleet: Fleet,
        board: Board,
        dispatcher: Dispatcher,
        completer: Completer,
        permits: Permits,
        stages: StageWriter,
        hub: WatchHub,
        liveness: LivenessSettings,
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._fleet = fleet
        self._board = board
        self._dispatcher = dispatcher
        self._completer = completer
        self._permits = permits
        self._stages = stages
        self._hub = hub
        self._liveness = liveness

    @property
    def silence_seconds(self) -> float:
        """A stream that is silent for longer is dropped."""
        return self._liveness.lost_after.total_seconds()

    async def open(self, info: ExecutorInfo, held: Collection[AttemptId]) -> Session:
        """Begin a session: the executor keeps what it holds, what it does not know comes back. Raises StoreUnavailable."""
        registration = await self._store.register(info, held)
        session = Session(info=info, number=registration.session)
        for attempt, job in registration.held.items():
            # Where it stands in its lane only the scheduler knows that sent it: it goes first.
            session.held[attempt] = Held(
                lane=job.lane, order=(0, 0), ask=UNKNOWN, sent=self._clock.monotonic(), accepted=True
            )
        session.outbox.put(
            Welcome(
                session=registration.session,
                heartbeat_interval=self._liveness.heartbeat_interval,
                lost_after=self._liveness.lost_after,
                superseded=[attempt for attempt in held if attempt not in registration.held],
            )
        )
        if registration.orphaned:
            await self._completer.take_back(registration.orphaned, "Its executor never received it.")
        self._fleet.add(session)
        self._board.serve(info.lanes)
        _log.info(
            "executor_connected",
            executor_id=info.executor_id,
            session=session.number,
            capacity=info.capacity,
            lanes=info.lanes,
            held=len(held),
        )
        return session

    def close(self, session: Session) -> None:
        """The stream is over. What runs goes on: the executor has time to come back."""
        self._fleet.remove(session)
        self._permits.forget_session(session)
        _log.info("executor_disconnected", executor_id=session.info.executor_id, session=session.number)

    async def handle(self, session: Session, message: Uplink) -> None:
        """Take one message; waits while the buffer of outcomes is full."""
        if message.credit is not None:
            self._set_credit(session, message.credit)
        session.accept(message.accepted)
        for attempt in message.ready:
            self._permits.ask(session, attempt)
        now = self._time.now()
        for progress in message.progress:
            self._hub.stage_entered(progress.attempt_id, progress.stage, now)
            self._stages.note(progress.attempt_id, progress.stage, now)
        if message.outcomes:
            outcomes = session.located(message.outcomes)
            self._let_go(session, [outcome.attempt_id for outcome in outcomes])
            for outcome in outcomes:
                if isinstance(outcome.verdict, Throttled):
                    self._rest(outcome.lane, outcome.verdict)
            await self._completer.add(outcomes, session.acknowledge)
        if message.withdrawn:
            await self._take_back(session, message.withdrawn)
        if message.heartbeat is not None:
            await self._heartbeat(session, message.heartbeat)

    def withdraw_unaccepted(self) -> None:
        """Wish assignments back that their executors have not accepted in time."""
        sent_before = self._clock.monotonic() - self._liveness.accept_within.total_seconds()
        for session in self._fleet.sessions:
            late = session.unaccepted(sent_before)
            if late:
                _log.warning("assignments_not_accepted", executor_id=session.info.executor_id, assignments=len(late))
                session.withdraw(late)

    def withdraw_uncalled(self, lane: Lane) -> None:
        """Wish back what a closed lane has on its executors, but its probe; a call that has begun goes on.

        Where calls need permits, none is given now: whoever has to wait for long for one is wished back by that.
        """
        if lane.limits.need_permits:
            return
        for session in self._fleet.sessions:
            session.withdraw(
                [
                    attempt
                    for attempt, held in session.held.items()
                    if held.lane == lane.name and not held.withdrawn and tuple(attempt) != lane.breaker.probe
                ]
            )

    def _rest(self, lane: str, throttled: Throttled) -> None:
        """Let a lane begin nothing more until what its provider has just asked for is stored: it has to hold at once."""
        self._dispatcher.rest(lane, throttled.retry_after)
        self.withdraw_uncalled(self._board.lane(lane))

    def _set_credit(self, session: Session, credit: Credit) -> None:
        session.set_credit(credit)
        if session.free_slots:
            self._dispatcher.wake()

    def _let_go(self, session: Session, attempts: Collection[AttemptId]) -> None:
        """The executor is done with these attempts."""
        session.drop(attempts)
        for attempt in attempts:
            self._permits.forget(attempt)

    async def _take_back(self, session: Session, withdrawn: Collection[AttemptId]) -> None:
        """Return attempts to the queue that the executor gave back as it was asked to."""
        self._let_go(session, withdrawn)
        try:
            running = await self._store.running_on(session.info.executor_id, session.number)
            given_back = {attempt: running[attempt] for attempt in withdrawn if attempt in running}
            await self._completer.take_back(given_back, "It was given back before its call.")
        except StoreUnavailable as error:
            # The executor holds them no more: its next lists show it.
            _log.warning("withdrawal_not_stored", attempts=len(withdrawn), error=str(error))

    async def _heartbeat(self, session: Session, heartbeat: Heartbeat) -> None:
        """Echo a heartbeat after it is stored: an executor that hears nothing dials another scheduler."""
        try:
            current = await self._store.touch(session.info.executor_id, session.number)
            if current and heartbeat.held is not None:
                await self._compare(session, set(heartbeat.held))
        except StoreUnavailable as error:
            _log.warning("heartbeat_not_stored", executor_id=session.info.executor_id, error=str(error))
            return
        if current:
            session.outbox.put(HeartbeatEcho(heartbeat.number))
        else:
            session.outbox.close("The session was declared lost, or another one began.")

    async def _compare(self, session: Session, held: Collection[AttemptId]) -> None:
        """Compare what the executor holds with what runs there.

        What runs but is missing in two lists in a row was never received, and goes back to the queue. What is held but
        does not run any more is stopped: the word to stop it got lost.
        """
        running = await self._store.running_on(session.info.executor_id, session.number)
        missing = {
            attempt
            for attempt in running
            if attempt not in held and not (attempt in session.held and session.held[attempt].withdrawn)
        }
        lost = {attempt: running[attempt] for attempt in running if attempt in missing and attempt in session.missing}
        session.missing = missing
        if lost:
            session.drop(lost)
            await self._completer.take_back(lost, "Its executor does not hold it.")
        session.outbox.put(*(Stop(attempt) for attempt in held if attempt not in running))
