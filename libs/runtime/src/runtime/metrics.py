"""The meter of a program, and where its numbers go.

They leave by OTLP if the `OTEL_*` variables say so, and by the readers that a program adds. Without either, instruments
count for nobody and cost next to nothing.
"""

from collections.abc import Sequence

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from pydantic import Field

from runtime.telemetry import TelemetrySettings

_SHUTDOWN_MS = 5_000


class Metrics:
    """A meter with its provider.

    Attributes:
        meter: Makes the instruments.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.meter: Meter = provider.get_meter("visionjobs")
        self._provider = provider

    def shutdown(self) -> None:
        """Export what is left; blocks for a bounded time."""
        self._provider.shutdown(timeout_millis=_SHUTDOWN_MS)


class _MetricsSettings(TelemetrySettings):
    """The standard variables that decide whether and how metrics leave the process."""

    metrics_exporter: str = Field(default="", validation_alias="OTEL_METRICS_EXPORTER")
    metrics_endpoint: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    metrics_protocol: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")

    @property
    def exports(self) -> bool:
        return self.exports_to(exporter=self.metrics_exporter, endpoint=self.metrics_endpoint)


def configure(service_name: str, extra_readers: Sequence[MetricReader] = ()) -> Metrics:
    """Build the metrics that the `OTEL_*` variables ask for, read by the extra readers too."""
    settings = _MetricsSettings()
    readers = list(extra_readers)
    if settings.exports:
        readers.append(PeriodicExportingMetricReader(_exporter(settings.metrics_protocol or settings.protocol)))
    resource = Resource.create({SERVICE_NAME: settings.service_name or service_name})
    return Metrics(MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False))


def _exporter(protocol: str) -> MetricExporter:
    # Imported here: each exporter pulls in a transport of its own, and most processes need none.
    if protocol.startswith("http"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter  # noqa: PLC0415 - see above

        return HttpExporter()
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter  # noqa: PLC0415 - see above

    return GrpcExporter()
