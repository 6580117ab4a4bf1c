import asyncio
import contextlib
import datetime
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from devkit.certificates import Authority, CertificateFiles
from runtime import metrics
from runtime.certificate_expiry import CertificateExpiry
from runtime.certificates import PemFile, identity

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Days:
    """A clock whose sleeps pass at once, until so many are over."""

    def __init__(self, days: int = 1) -> None:
        self.over = asyncio.Event()
        self._now = NOW
        self._left = days

    def now(self) -> datetime.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        self._left -= 1
        if self._left == 0:
            self.over.set()
            await asyncio.Event().wait()
        self._now += datetime.timedelta(seconds=seconds)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def expiry_of(files: CertificateFiles, clock: Days) -> CertificateExpiry:
    pair = identity("server", PemFile("X_CERTIFICATE_FILE", files.certificate), PemFile("X_KEY_FILE", files.key))
    return CertificateExpiry([pair], clock=clock)


async def warnings_of(files: CertificateFiles, *, days: int) -> list[str]:
    clock = Days(days)
    with structlog.testing.capture_logs() as logged:
        running = asyncio.create_task(expiry_of(files, clock).run())
        await clock.over.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return [each["event"] for each in logged if each["log_level"] == "warning"]


async def test_a_certificate_near_its_end_is_warned_of_at_start_and_once_a_day(authority: Authority) -> None:
    files = authority.issue("server", expire_time=NOW + 2 * DAY + DAY / 2)

    assert await warnings_of(files, days=4) == ["certificate_expires_soon"] * 3 + ["certificate_expired"]


async def test_a_certificate_that_is_good_for_long_is_not_warned_of(authority: Authority) -> None:
    assert await warnings_of(authority.issue("server", expire_time=NOW + 15 * DAY), days=1) == []


async def test_a_warning_ends_with_the_certificate_that_it_was_about(authority: Authority) -> None:
    files = authority.issue("server", expire_time=NOW + DAY)
    expiry = expiry_of(files, Days())
    files.replace_by(authority.issue("new", expire_time=NOW + 90 * DAY))

    assert expiry.seconds_left() == {"server": (90 * DAY).total_seconds()}


def test_the_time_left_is_a_gauge_by_role(authority: Authority) -> None:
    reader = InMemoryMetricReader()
    measured = metrics.configure("a-service", extra_readers=[reader])
    expiry_of(authority.issue("server", expire_time=NOW - DAY), Days()).register(measured.meter)

    data = reader.get_metrics_data()
    measured.shutdown()

    assert data is not None
    (resource,) = data.resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    assert resource.resource.attributes["service.name"] == "a-service"
    assert (metric.name, metric.unit) == ("visionjobs.tls.certificate.expiry", "s")
    (point,) = metric.data.data_points
    assert (point.value, dict(point.attributes or {})) == (-86_400.0, {"file": "server"})  # type: ignore[union-attr]
