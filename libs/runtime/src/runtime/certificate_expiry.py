"""Says in time that certificates expire: in the log once a day, and as a metric."""

import datetime
from collections.abc import Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from runtime import logs
from runtime.certificates import Authorities, Identity
from runtime.clock import Clock
from runtime.reloading import Reloaded

_WARN_BEFORE = datetime.timedelta(days=14)
_DAY_SECONDS = 86_400.0

_log = logs.get_logger(__name__)


class CertificateExpiry:
    """Watches the certificates of one program."""

    def __init__(self, files: Sequence[Reloaded[Identity] | Reloaded[Authorities]], *, clock: Clock) -> None:
        self._files = files
        self._clock = clock

    def seconds_left(self) -> dict[str, float]:
        """Return how long each certificate is good, by its role; negative once it has expired."""
        now = self._clock.now()
        return {file.role: (file.current().expire_time - now).total_seconds() for file in self._files}

    def register(self, meter: Meter) -> None:
        """Make the gauge `visionjobs.tls.certificate.expiry`."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(seconds, {"file": role}) for role, seconds in self.seconds_left().items()]

        meter.create_observable_gauge(
            "visionjobs.tls.certificate.expiry",
            callbacks=[observe],
            unit="s",
            description="Time until a certificate expires; negative afterwards.",
        )

    async def run(self) -> None:
        """Warn until cancelled: now and once a day, of each that is near its end."""
        while True:
            for role, seconds in self.seconds_left().items():
                if seconds <= 0:
                    _log.warning("certificate_expired", role=role, seconds=round(-seconds))
                elif seconds < _WARN_BEFORE.total_seconds():
                    _log.warning("certificate_expires_soon", role=role, days=round(seconds / _DAY_SECONDS, 1))
            await self._clock.sleep(_DAY_SECONDS)
