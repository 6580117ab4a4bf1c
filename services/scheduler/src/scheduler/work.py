"""The scheduler's side of an executor's stream: hello, credit, progress, outcomes, heartbeats."""

import datetime
from collections.abc import Collection
from dataclasses import dataclass

from runtime import logs
from scheduler.complete import Completer
from scheduler.dispatch import Dispatcher
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Credit, Fleet, HeartbeatEcho, Session, Uplink, Welcome
from scheduler.ports import AttemptId, ExecutorInfo, ExecutorStore, StoreClock
from scheduler.stages import StageWriter
from scheduler.watch import WatchHub

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSettings:
    """How executors show that they live."""

    heartbeat_interval: datetime.timedelta = datetime.timedelta(seconds=3)
    lost_after: datetime.timedelta = datetime.timedelta(seconds=10)


class Work:
    """The use case: `open` a session, `handle` its messages, `close` it."""

    def __init__(
        self,
        *,
        store: ExecutorStore,
        time: StoreClock,
        fleet: Fleet,
        dispatcher: Dispatcher,
        completer: Completer,
        stages: StageWriter,
        hub: WatchHub,
        liveness: LivenessSettings,
    ) -> None:
        self._store = store
        self._time = time
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._completer = completer
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
        session.outbox.put(
            Welcome(
                session=registration.session,
                heartbeat_interval=self._liveness.heartbeat_interval,
                superseded=[attempt for attempt in held if attempt not in registration.held],
            )
        )
        if registration.orphaned:
            await self._completer.give_back(registration.orphaned, "Its executor never received it.")
        self._fleet.add(session)
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
        _log.info("executor_disconnected", executor_id=session.info.executor_id, session=session.number)

    async def handle(self, session: Session, message: Uplink) -> None:
        """Take one message; waits while the buffer of outcomes is full."""
        now = self._time.now()
        for progress in message.progress:
            self._hub.stage_entered(progress.attempt_id, progress.stage, now)
            self._stages.note(progress.attempt_id, progress.stage, now)
        if message.outcomes:
            await self._completer.add(message.outcomes, session.acknowledge)
        if message.credit is not None:
            self._set_credit(session, message.credit)
        if message.heartbeat is not None:
            await self._heartbeat(session, message.heartbeat)

    def _set_credit(self, session: Session, credit: Credit) -> None:
        session.set_credit(credit)
        if session.free_slots:
            self._dispatcher.wake()

    async def _heartbeat(self, session: Session, number: int) -> None:
        """Echo a heartbeat after it is stored: an executor that hears nothing dials another scheduler."""
        try:
            current = await self._store.touch(session.info.executor_id, session.number)
        except StoreUnavailable as error:
            _log.warning("heartbeat_not_stored", executor_id=session.info.executor_id, error=str(error))
            return
        if current:
            session.outbox.put(HeartbeatEcho(number))
        else:
            session.outbox.close("The session was declared lost, or another one began.")
