import gzip
import http.server
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from runtime import metrics


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what is exported to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, ExportMetricsServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, ExportMetricsServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        serving = threading.Thread(target=collector.serve_forever)
        serving.start()
        yield collector
        collector.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "METRICS_ENDPOINT", "PROTOCOL", "METRICS_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.delenv("OTEL_METRICS_EXPORTER", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")


def count_once() -> None:
    measured = metrics.configure("a-service")
    measured.meter.create_counter("tests").add(1)
    measured.shutdown()


@pytest.mark.parametrize(
    ("variable", "path"), [("ENDPOINT", "/v1/metrics"), ("METRICS_ENDPOINT", "/")], ids=["of all", "of metrics"]
)
def test_what_was_counted_leaves_at_the_shutdown_by_otlp(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, variable: str, path: str
) -> None:
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{variable}", collector.url)
    count_once()

    ((arrived_at, request),) = collector.received
    (resource,) = request.resource_metrics
    assert arrived_at == path
    assert [metric.name for metric in resource.scope_metrics[0].metrics] == ["tests"]
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "a-service"


def test_nothing_leaves_without_an_endpoint_or_where_it_is_unwanted(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    count_once()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    count_once()

    assert collector.received == []
