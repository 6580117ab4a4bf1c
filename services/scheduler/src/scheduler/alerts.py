"""What wants a person: raised by what schedulers see, ended when it is over, and listed for operators."""

import datetime
from collections.abc import Callable, Sequence

from runtime import logs
from runtime.clock import Clock
from scheduler.errors import StoreUnavailable
from scheduler.ports import AlertStore, StoreClock
from scheduler.records import Alert

MODEL_REROUTED = "MODEL_REROUTED"
MOST_LISTED = 1_000

_REFRESH_SECONDS = 5.0
_RENEW_AFTER = datetime.timedelta(minutes=1)
_MOST_SEEN = 1_000
_VERSION_LENGTH = 200

_log = logs.get_logger(__name__)


class Alerts:
    """The use case. `on_reroute` gets the lane of every answer that another model gave."""

    def __init__(self, *, store: AlertStore, time: StoreClock, clock: Clock, on_reroute: Callable[[str], None]) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._on_reroute = on_reroute
        self._rerouted: set[str] = set()
        # When which version was last told of a lane.
        self._told: dict[tuple[str, str], datetime.datetime] = {}

    async def all(self, *, include_ended: bool) -> Sequence[Alert]:
        """Return the newest alerts, newest first: those that are active, or all. Raises StoreUnavailable."""
        return await self._store.alerts(include_ended=include_ended, limit=MOST_LISTED)

    async def model_rerouted(self, lane: str, asked: str, version: str) -> None:
        """Another model answered than the lane's; told once a minute for each version, and counted always."""
        self._on_reroute(lane)
        version, now = version[:_VERSION_LENGTH], self._time.now()
        told = self._told.get((lane, version))
        if told is not None and now - told < _RENEW_AFTER:
            return
        if len(self._told) >= _MOST_SEEN:
            self._told.clear()
        self._told[lane, version] = now
        self._rerouted.add(lane)
        _log.warning("model_rerouted", lane=lane, asked=asked, version=version)
        alert = Alert(
            name=MODEL_REROUTED,
            subject=lane,
            severity="WARNING",
            message=f"The provider answers with {version} where {asked} was asked for.",
            start_time=now,
        )
        try:
            await self._store.raise_alert(alert)
        except StoreUnavailable as error:
            self._told.pop((lane, version), None)
            _log.warning("alert_not_raised", name=alert.name, subject=lane, error=str(error))

    def concerns(self, lane: str) -> bool:
        """Say whether another model is known to answer for the lane's: its own answer would end that."""
        return lane in self._rerouted

    async def model_answered(self, lane: str) -> None:
        """The lane's own model answered. Costs nothing unless its alert is active."""
        if lane not in self._rerouted:
            return
        self._rerouted.discard(lane)
        try:
            if await self._store.end_alert(MODEL_REROUTED, lane):
                _log.info("model_answers_again", lane=lane)
        except StoreUnavailable as error:
            self._rerouted.add(lane)
            _log.warning("alert_not_ended", name=MODEL_REROUTED, subject=lane, error=str(error))

    async def refresh(self) -> None:
        """Learn which alerts are active, by whomever they were raised. Raises StoreUnavailable."""
        active = await self._store.alerts(include_ended=False, limit=MOST_LISTED)
        self._rerouted = {alert.subject for alert in active if alert.name == MODEL_REROUTED}

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self._clock.sleep(_REFRESH_SECONDS)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                _log.debug("alerts_not_read", error=str(error))
