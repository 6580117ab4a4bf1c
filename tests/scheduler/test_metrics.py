from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from runtime import metrics
from scheduler.metrics import Counters


def test_denied_calls_are_counted_by_reason_under_the_names_that_the_docs_tell() -> None:
    registry = CollectorRegistry()
    made = metrics.configure("scheduler", [PrometheusMetricReader(registry=registry, scope_info_enabled=False)])
    counters = Counters(made.meter)

    for reason in ("KEY_MISSING", "KEY_MISSING", "QUEUE_FULL"):
        counters.denied(reason)
    lines = generate_latest(registry).decode().splitlines()
    made.shutdown()

    assert 'visionjobs_calls_denied_total{reason="KEY_MISSING"} 2.0' in lines
    assert 'visionjobs_calls_denied_total{reason="QUEUE_FULL"} 1.0' in lines


def test_answers_of_other_models_are_counted_by_lane() -> None:
    registry = CollectorRegistry()
    made = metrics.configure("scheduler", [PrometheusMetricReader(registry=registry, scope_info_enabled=False)])
    counters = Counters(made.meter)

    counters.rerouted("gemini/gemini-3.8-flash")
    lines = generate_latest(registry).decode().splitlines()
    made.shutdown()

    assert 'visionjobs_model_reroutes_total{lane="gemini/gemini-3.8-flash"} 1.0' in lines
