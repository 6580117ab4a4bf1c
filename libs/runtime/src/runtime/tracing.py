"""One trace across processes: W3C trace contexts as plain strings that travel in rows and messages.

Without an OTLP exporter configured nothing is recorded, contexts are only carried: a span costs tens of microseconds,
a string nothing. With one, `OTEL_TRACES_SAMPLER` decides.
"""

import contextlib
import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace import Tracer as OtelTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import Field

from runtime.randomness import Randomness
from runtime.telemetry import TelemetrySettings

Attributes = Mapping[str, str | int | float | bool | list[str]]

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values; version ff and all-zero ids are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id_of(traceparent: str) -> str:
    """Return the 32 hex digits of the trace."""
    return traceparent[3:35]


@dataclass(frozen=True, slots=True)
class Span:
    """A span, or the context it would have had if spans were recorded."""

    traceparent: str
    otel: OtelSpan | None = None

    def set(self, attributes: Attributes) -> None:
        if self.otel is not None:
            self.otel.set_attributes(attributes)

    def fail(self, error_type: str, message: str) -> None:
        """Mark the span as failed."""
        if self.otel is not None:
            self.otel.set_attribute("error.type", error_type)
            self.otel.set_status(Status(StatusCode.ERROR, message))


class Tracing:
    """Makes spans whose parents are W3C trace contexts."""

    def __init__(self, *, randomness: Randomness, provider: TracerProvider | None = None) -> None:
        self._randomness = randomness
        self._provider = provider
        self._tracer: OtelTracer | None = provider.get_tracer("visionjobs") if provider else None
        self._propagator = TraceContextTextMapPropagator()

    @property
    def recording(self) -> bool:
        return self._tracer is not None

    def continue_or_begin(self, traceparent: str | None) -> str:
        """Return the caller's trace context if it is valid, else a new one."""
        if traceparent and _TRACEPARENT.fullmatch(traceparent):
            return traceparent
        return f"00-{self._randomness.token(16).hex()}-{self._randomness.token(8).hex()}-01"

    @contextlib.contextmanager
    def span(
        self, name: str, parent: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
    ) -> Iterator[Span]:
        """Span the block. An exception does not mark it: its message may quote a caller's data; use `Span.fail`."""
        if self._tracer is None:
            yield Span(parent)
            return
        with self._tracer.start_as_current_span(
            name,
            context=self._propagator.extract({"traceparent": parent}),
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as otel:
            yield Span(self._context_of(otel), otel)

    def record(
        self,
        name: str,
        parent: str,
        *,
        start: datetime.datetime,
        end: datetime.datetime,
        attributes: Attributes | None = None,
    ) -> str:
        """Record a span that is already over, and return its context."""
        if self._tracer is None:
            return parent
        otel = self._tracer.start_span(
            name,
            context=self._propagator.extract({"traceparent": parent}),
            attributes=attributes,
            start_time=_nanoseconds(start),
        )
        otel.end(_nanoseconds(end))
        return self._context_of(otel)

    def shutdown(self) -> None:
        """Export what is left; blocks for a bounded time."""
        if self._provider is not None:
            self._provider.shutdown()

    def _context_of(self, otel: OtelSpan) -> str:
        context = otel.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


class _TracesSettings(TelemetrySettings):
    """The standard variables that decide whether and how spans leave the process."""

    traces_exporter: str = Field(default="", validation_alias="OTEL_TRACES_EXPORTER")
    traces_endpoint: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    traces_protocol: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")

    @property
    def exports(self) -> bool:
        return self.exports_to(exporter=self.traces_exporter, endpoint=self.traces_endpoint)


def configure(*, service_name: str, randomness: Randomness) -> Tracing:
    """Build the tracing that the `OTEL_*` variables ask for."""
    settings = _TracesSettings()
    if not settings.exports:
        return Tracing(randomness=randomness)
    resource = Resource.create({SERVICE_NAME: settings.service_name or service_name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(settings.traces_protocol or settings.protocol)))
    return Tracing(randomness=randomness, provider=provider)


def _exporter(protocol: str) -> SpanExporter:
    # Imported here: each exporter pulls in a transport of its own, and most processes need none.
    if protocol.startswith("http"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter  # noqa: PLC0415 - see above

        return HttpExporter()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter  # noqa: PLC0415 - see above

    return GrpcExporter()


def _nanoseconds(time: datetime.datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000
